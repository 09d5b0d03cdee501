"""What can stop a run."""

from __future__ import annotations


class PortfolioError(Exception):
    """The book cannot be scored; ``str()`` is one line that says what to change."""
