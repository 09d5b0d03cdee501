"""The template of a notice of adverse action: plain text, from which the letter is made as text and as a page.

A blank line separates paragraphs, and the end of a line is one in the letter too; long lines are wrapped. ``{name}`` stands for a
field; a line whose fields are all empty is left out. A paragraph that begins with ``# `` is the heading, and ``{reasons}`` is a
paragraph by itself: it becomes a numbered list.

What a notice must say: 12 CFR 1002.9(a)(2) and (b)(1), (2); the sample forms are in appendix C to part 1002.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from textwrap import wrap

from modelbundle.errors import FormatError

WIDTH = 78  # characters of a line of text
MOST = 1 << 16  # bytes of a template
REQUIRED = ("creditor_name", "creditor_address", "action", "agency", "reasons")  # without them it is no such notice
OPTIONAL = ("creditor_phone", "recipient", "date", "reference")
_FIELD = re.compile(r"\{([^{}\n]*)\}")
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ color: #000; background: #fff; font: 12pt/1.45 Georgia, "Times New Roman", serif; max-width: 42rem; margin: 2.5rem auto; padding: 0 1.25rem; }}
h1 {{ font-size: 1.25em; margin: 2em 0 1em; }}
p, li {{ overflow-wrap: anywhere; }}
li {{ margin: 0 0 .4em; }}
@page {{ margin: 25mm; }}
@media print {{ body {{ max-width: none; margin: 0; padding: 0; }} }}
</style>
</head>
<body>
{body}
</body>
</html>
"""  # noqa: E501


@dataclass(frozen=True, slots=True)
class Notice:
    """A letter, twice."""

    text: str
    html: str


@dataclass(frozen=True, slots=True)
class Template:
    """The paragraphs of a template that :meth:`parse` has checked."""

    paragraphs: tuple[str, ...]

    @classmethod
    def parse(cls, content: bytes, place: str) -> Template:
        """Raises :class:`FormatError`, in the name of ``place``, where this is no template of such a notice."""
        if len(content) > MOST:
            raise FormatError(place, f"has more than {MOST:,} bytes")
        try:
            text = content.decode("utf-8-sig").replace("\r\n", "\n")
        except UnicodeDecodeError:
            raise FormatError(place, "is not UTF-8") from None
        if not text.replace("\n", "").isprintable():
            raise FormatError(place, "has characters that cannot be printed")
        found: list[str] = _FIELD.findall(text)
        for name in found:
            if name not in (*REQUIRED, *OPTIONAL):
                raise FormatError(place, f"{{{name[:50]}}} is no field of a notice")
        if missing := [name for name in REQUIRED if name not in found]:
            raise FormatError(place, f"does not say {', '.join(f'{{{name}}}' for name in missing)}")
        paragraphs = tuple(each.strip() for each in re.split(r"\n[ \t]*\n", text) if each.strip())
        if found.count("reasons") != 1 or "{reasons}" not in paragraphs:
            raise FormatError(place, "{reasons} must be a paragraph by itself, once")
        return cls(paragraphs)

    def fill(self, fields: Mapping[str, str], reasons: Sequence[str]) -> Notice:
        """The letter; ``fields`` may leave out those that are optional. A value may have several lines."""
        texts, parts, title = [], [], "Notice"
        for paragraph in self.paragraphs:
            if paragraph == "{reasons}":
                texts.append("\n".join(f"{i}. {reason}" for i, reason in enumerate(reasons, 1)))
                parts.append("<ol>\n" + "".join(f"<li>{escape(reason)}</li>\n" for reason in reasons) + "</ol>")
                continue
            lines = "\n".join(filled for line in paragraph.split("\n") if (filled := _filled(line, fields))).split("\n")
            if lines == [""]:
                continue
            if paragraph.startswith("# "):
                lines[0] = lines[0].removeprefix("# ")
                title = " ".join(lines)
                parts.append(f"<h1>{escape(title)}</h1>")
            else:
                parts.append("<p>" + "<br>\n".join(map(escape, lines)) + "</p>")
            texts.append("\n".join(part for line in lines for part in wrap(line, WIDTH) or [""]))
        return Notice("\n\n".join(texts) + "\n", _PAGE.format(title=escape(title), body="\n".join(parts)))


def _filled(line: str, fields: Mapping[str, str]) -> str:
    """A line with its fields; empty where they are all empty."""
    names = _FIELD.findall(line)
    if names and not any(fields.get(name) for name in names):
        return ""
    return _FIELD.sub(lambda match: fields.get(match[1], ""), line)


DEFAULT = (
    b"{creditor_name}\n{creditor_address}\n{creditor_phone}\n\n"
    b"{date}\n\n"
    b"{recipient}\n\n"
    b"# Notice of action taken\n\n"
    b"{action}\n\n"
    b"The principal reasons for this decision were:\n\n"
    b"{reasons}\n\n"
    b"The reasons are those that weighed most in the decision. They come from what you told us and from what we know "
    b"about the accounts that you have with us and with others.\n\n"
    b"The federal Equal Credit Opportunity Act prohibits creditors from discriminating against credit applicants on "
    b"the basis of race, color, religion, national origin, sex, marital status, age (provided the applicant has the "
    b"capacity to enter into a binding contract); because all or part of the applicant's income derives from any "
    b"public assistance program; or because the applicant has in good faith exercised any right under the Consumer "
    b"Credit Protection Act. The federal agency that administers compliance with this law concerning this creditor "
    b"is:\n\n"
    b"{agency}\n\n"
    b"Reference: {reference}\n"
)
