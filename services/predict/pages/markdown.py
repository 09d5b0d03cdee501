"""Model cards as plain data for a template: whatever a card holds becomes text.

markdown-it parses headings, paragraphs, lists, tables, and code, strong and emphasised words. The rules for HTML, links
and images are off, so these are shown as they are written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from markdown_it.token import Token

Words = list[tuple[Literal["text", "code", "strong", "em"], str]]
_KINDS: dict[str, Literal["paragraph", "list", "table"]] = {
    "paragraph_open": "paragraph",
    "bullet_list_open": "list",
    "ordered_list_open": "list",
    "table_open": "table",
}
_MARKS: dict[str, Literal["strong", "em"]] = {"strong_open": "strong", "em_open": "em"}


@dataclass(slots=True)
class Block:
    """A paragraph (``words``), a list (``items``; those of inner lists follow) or a table (``header``, ``rows``)."""

    kind: Literal["paragraph", "list", "table"]
    words: Words = field(default_factory=list)
    items: list[Words] = field(default_factory=list)
    header: list[Words] = field(default_factory=list)
    rows: list[list[Words]] = field(default_factory=list)


@dataclass(slots=True)
class Section:
    """A heading of level 1 to 6, empty before the first, and the blocks under it."""

    heading: str
    level: int
    blocks: list[Block] = field(default_factory=list)


@cache
def _markdown() -> Any:
    """The parser: imported when a card is asked for, since it takes more than a megabyte in each process."""
    from markdown_it import MarkdownIt

    rules = ["heading", "list", "table", "emphasis", "backticks", "escape", "newline"]
    return MarkdownIt("zero", {"html": False}).enable(rules)


def sections(text: str) -> list[Section]:
    """A document as sections, in order."""
    found = [Section("", 1)]
    block: Block | None = None  # None while a heading is open
    for token in _markdown().parse(text):
        if token.type == "heading_open" and token.level == 0:
            found.append(Section("", int(token.tag[1])))
            block = None
        elif token.type in _KINDS and token.level == 0:
            block = Block(_KINDS[token.type])
            found[-1].blocks.append(block)
        elif block is None:
            if token.type == "inline":
                found[-1].heading = "".join(part for _, part in _words(token.children or ()))
        else:
            _add(block, token)
    return [section for section in found if section.heading or section.blocks]


def _add(block: Block, token: Token) -> None:
    """What a token adds to a block."""
    if token.type == "list_item_open":
        block.items.append([])
    elif block.kind == "table" and token.type == "tr_open":
        block.rows.append([])
    elif block.kind == "table" and token.type == "thead_close":
        block.header = block.rows.pop()
    elif token.type == "inline":
        own = _words(token.children or ())
        if block.kind == "table":
            block.rows[-1].append(own)
        elif block.kind == "list":
            block.items[-1] += [("text", " "), *own] if block.items[-1] else own
        else:
            block.words = own


def words(text: str) -> Words:
    """A line in parts: plain text, code, strong and emphasised words."""
    return _words(_markdown().parseInline(text)[0].children or ())


def _words(tokens: Iterable[Token]) -> Words:
    found: Words = []
    marks: list[Literal["strong", "em"]] = []
    for token in tokens:
        if token.type in _MARKS:
            marks.append(_MARKS[token.type])
        elif token.nesting < 0:
            marks.pop()
        else:
            kind = "code" if token.type == "code_inline" else marks[-1] if marks else "text"
            part = " " if token.type in ("softbreak", "hardbreak") else token.content
            if found and found[-1][0] == kind:
                found[-1] = kind, found[-1][1] + part
            elif part:
                found.append((kind, part))
    return found
