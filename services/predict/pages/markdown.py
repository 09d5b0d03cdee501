"""The part of Markdown that cards are written in, as plain data for a template: whatever it holds, it becomes text.

Headings, paragraphs, lists, tables with a header, and code, strong and emphasised words inside them. Anything else, HTML
included, is shown as it is written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Words = list[tuple[Literal["text", "code", "strong", "em"], str]]
_INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*|\*([^*\s][^*]*)\*")
_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s+(.*)")
_RULE = re.compile(r"\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?")
_CELL = re.compile(r"(?<!\\)\|")


@dataclass(slots=True)
class Block:
    """A paragraph (``words``), a list (``items``) or a table (``header``, ``rows``)."""

    kind: Literal["paragraph", "list", "table"]
    words: Words = field(default_factory=list)
    items: list[Words] = field(default_factory=list)
    header: list[Words] = field(default_factory=list)
    rows: list[list[Words]] = field(default_factory=list)


@dataclass(slots=True)
class Section:
    """A heading of level 1 to 6, empty before the first, and what stands under it."""

    heading: str
    level: int
    blocks: list[Block] = field(default_factory=list)


def sections(text: str) -> list[Section]:
    """A document as sections, in order."""
    found = [Section("", 1)]
    for lines in _paragraphs(text):
        if heading := re.fullmatch(r"(#{1,6})\s+(.*?)\s*#*", lines[0]):
            found.append(Section(heading[2], len(heading[1])))
            lines = lines[1:]
        if lines:
            found[-1].blocks.append(_block(lines))
    return [section for section in found if section.heading or section.blocks]


def _paragraphs(text: str) -> Iterator[list[str]]:
    lines: list[str] = []
    for line in text.splitlines():
        if line.strip() and not (lines and line.startswith("#")):
            lines.append(line.rstrip())
            continue
        if lines:
            yield lines
        lines = [line] if line.strip() else []
    if lines:
        yield lines


def _block(lines: list[str]) -> Block:
    if len(lines) > 1 and "|" in lines[0] and _RULE.fullmatch(lines[1].strip()):
        header, *rows = [_cells(line) for line in (lines[0], *lines[2:])]
        return Block("table", header=header, rows=[(row + [[]] * len(header))[: len(header)] for row in rows])
    if _ITEM.fullmatch(lines[0]):
        items: list[str] = []
        for line in lines:
            if match := _ITEM.fullmatch(line):
                items.append(match[1])
            else:
                items[-1] += f" {line.strip()}"
        return Block("list", items=[words(item) for item in items])
    return Block("paragraph", words=words(" ".join(line.strip() for line in lines)))


def _cells(line: str) -> list[Words]:
    bare = line.strip().removeprefix("|")
    if bare.endswith("|") and not bare.endswith("\\|"):
        bare = bare[:-1]
    return [words(cell.strip().replace("\\|", "|")) for cell in _CELL.split(bare)]


def words(text: str) -> Words:
    """A line in parts: plain text, code, strong and emphasised words."""
    found: Words = []
    at = 0
    for match in _INLINE.finditer(text):
        if match.start() > at:
            found.append(("text", text[at : match.start()]))
        code, strong, em = match.groups()
        found.append(("code", code) if code else ("strong", strong) if strong else ("em", em))
        at = match.end()
    if at < len(text):
        found.append(("text", text[at:]))
    return found
