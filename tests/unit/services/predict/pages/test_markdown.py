"""Cards are read as plain data: what they hold becomes text, never markup."""

from __future__ import annotations

import pytest

from services.predict.pages.markdown import Block, sections, words


def test_a_card_is_sections_of_paragraphs_lists_and_tables() -> None:
    """In order, under their headings; what stands before the first has none."""
    found = sections(
        "before\n# Title\n## Use\nOne\nparagraph.\n\nAnother.\n- first\n  goes on\n- second\n\n"
        "## Figures ##\n| A | B |\n| --- | ---: |\n| 1 | a \\| b |\n| 2 |\n\n1. one\n2. two\n"
    )
    assert [(s.heading, s.level) for s in found] == [("", 1), ("Title", 1), ("Use", 2), ("Figures", 2)]
    use, figures = found[2].blocks, found[3].blocks
    assert [block.kind for block in use] == ["paragraph", "paragraph", "list"]
    assert use[2].items == [[("text", "first goes on")], [("text", "second")]]
    assert use[0].words == [("text", "One paragraph.")]
    assert figures[0] == Block(
        "table",
        header=[[("text", "A")], [("text", "B")]],
        rows=[[[("text", "1")], [("text", "a | b")]], [[("text", "2")], []]],
    )
    assert figures[1].items == [[("text", "one")], [("text", "two")]]


def test_an_items_second_line_belongs_to_it() -> None:
    """Lists are written with hanging lines."""
    (section,) = sections("- first\n  goes on\n- second")
    assert section.blocks[0].items == [[("text", "first goes on")], [("text", "second")]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", [("text", "plain")]),
        ("a `code` b", [("text", "a "), ("code", "code"), ("text", " b")]),
        ("**strong** and *em*", [("strong", "strong"), ("text", " and "), ("em", "em")]),
        ("2 * 3 * 4", [("text", "2 * 3 * 4")]),
        ("<script>alert(1)</script>", [("text", "<script>alert(1)</script>")]),
        ("[a](javascript:alert(1))", [("text", "[a](javascript:alert(1))")]),
        ("![a](http://example.com/a.png)", [("text", "![a](http://example.com/a.png)")]),
        ("<http://example.com>", [("text", "<http://example.com>")]),
        ("&lt;b&gt;", [("text", "&lt;b&gt;")]),
        ("**a *b* c**", [("strong", "a "), ("em", "b"), ("strong", " c")]),
        ("", []),
    ],
)
def test_words_have_few_kinds(text: str, expected: list[tuple[str, str]]) -> None:
    """Code, strong and emphasised; HTML, links and images are text like any other."""
    assert words(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        "#",
        "###### ",
        "|",
        "|-|",
        "| a |\n|---|",
        "-",
        "- ",
        "*" * 1000,
        "`" * 999,
        "- # a",
        "- |a|\n  |-|\n  |b|",
        "[a]: b",
    ],
)
def test_anything_is_read(text: str) -> None:
    """A card is whatever its author typed."""
    sections(text)
