"""Sections, tables and pictures, written as Markdown or as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_STYLE = """body{font:16px/1.5 system-ui,sans-serif;color:#1f2937;background:#fff;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.7rem}h2{font-size:1.25rem;margin-top:2rem}table{border-collapse:collapse;margin:1rem 0}
th,td{border:1px solid #d1d5db;padding:.25rem .6rem;text-align:left}td+td{text-align:right}figure{margin:1rem 0}
figure svg{max-width:100%;height:auto}figcaption{color:#4b5563;font-size:.9rem}
@media print{body{max-width:none;margin:0}figure,table{break-inside:avoid}}"""


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of sentences."""

    items: Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """A table; every row has as many cells as the header."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG element and a caption, which is also the text for screen readers."""

    svg: str
    caption: str


Block = str | Bullets | Table | Picture  # a string is a paragraph


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its blocks."""

    heading: str
    blocks: Sequence[Block]


def to_markdown(title: str, sections: Sequence[Section]) -> str:
    """The sections as Markdown; a picture becomes its caption."""
    lines = [f"# {title}", ""]
    for section in sections:
        lines += [f"## {section.heading}", ""]
        for block in section.blocks:
            lines += [_markdown(block), ""]
    return "\n".join(lines).rstrip() + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, Bullets):
        return "\n".join(f"- {item}" for item in block.items)
    if isinstance(block, Table):
        rows = [block.header, ["---"] * len(block.header), *block.rows]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    if isinstance(block, Picture):
        return f"*(Picture in the HTML version: {block.caption})*"
    return block


def to_html(title: str, sections: Sequence[Section]) -> str:
    """The sections as one HTML page with inline style and pictures, and without scripts."""
    body = "\n".join(
        f"<section><h2>{escape(section.heading)}</h2>\n" + "\n".join(map(_html, section.blocks)) + "\n</section>"
        for section in sections
    )
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body><main><h1>{escape(title)}</h1>\n{body}\n</main></body></html>\n"
    )


def _html(block: Block) -> str:
    if isinstance(block, Bullets):
        return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in block.items) + "</ul>"
    if isinstance(block, Table):
        head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in block.header)
        rows = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in block.rows)
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>"
            + "".join(f"<tr>{r}</tr>" for r in rows)
            + "</tbody></table>"
        )
    if isinstance(block, Picture):
        label = escape(block.caption, quote=True)
        drawn = block.svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
        return f"<figure>{drawn}<figcaption>{escape(block.caption)}</figcaption></figure>"
    return f"<p>{escape(block)}</p>"
