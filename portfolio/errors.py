"""The error of a run that cannot be done."""

from __future__ import annotations


class PortfolioError(Exception):
    """The portfolio cannot be scored; ``str()`` is one line that says what to change."""
