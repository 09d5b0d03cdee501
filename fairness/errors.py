"""The error of figures that cannot be given."""

from __future__ import annotations


class FairnessError(Exception):
    """The figures cannot be given; ``str()`` is one line that says why."""


def shown(text: str) -> str:
    """A text of a file in a message: on one line, and short."""
    cut = text if len(text) <= 64 else f"{text[:64]}…"
    return repr(cut) if cut.isprintable() else ascii(cut)
