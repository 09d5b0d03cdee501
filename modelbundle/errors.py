"""The errors of bundles.

::

    BundleError
    ├── FormatError        the bytes are not a bundle: archive, manifest, tables
    │   └── MustUnpickle   the model must be unpickled, and this is not allowed here
    ├── HashMismatch       the bytes do not have the pinned SHA-256
    ├── RuntimeMismatch    the model needs other versions than the installed ones
    ├── GoldenMismatch     the model does not reproduce the scores of its golden rows
    ├── StatementError     the signed statement is missing, forged, old, or about another model
    ├── CannotScore        the model gives no probability for some valid rows
    └── PublishError       a pipeline, frame or description cannot become a bundle

Each error has its facts as attributes, so that a service reports them without parsing the message.
"""

from __future__ import annotations

from collections.abc import Mapping


class BundleError(Exception):
    """Base of all errors about bundles; ``str()`` is one line of text for people."""


class FormatError(BundleError):
    """The bytes do not follow the bundle format; ``where`` names the part (an entry, a manifest key)."""

    def __init__(self, where: str, detail: str) -> None:
        super().__init__(f"{where}: {detail}")
        self.where = where
        self.detail = detail


class MustUnpickle(FormatError):
    """The model must be unpickled, which runs its code, and the caller does not allow this."""


class HashMismatch(BundleError):
    """The SHA-256 of the bytes is not the expected one (both lower-case hex)."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"SHA-256 mismatch: expected {expected}, found {found}")
        self.expected = expected
        self.found = found


class RuntimeMismatch(BundleError):
    """Installed versions differ from those that the model needs: package to (needed, installed or None)."""

    def __init__(self, differences: dict[str, tuple[str, str | None]]) -> None:
        parts = [f"{name} {need} needed, {have or 'none'} installed" for name, (need, have) in differences.items()]
        super().__init__("; ".join(parts))
        self.differences = differences


class GoldenMismatch(BundleError):
    """The score of golden row ``row`` (0-based) is ``found``; the publisher's was ``expected``."""

    def __init__(self, row: int, expected: float, found: float) -> None:
        super().__init__(f"golden row {row}: expected {expected!r}, found {found!r}")
        self.row = row
        self.expected = expected
        self.found = found


class StatementError(BundleError):
    """A statement or a key is not acceptable; the message says why."""


class CannotScore(BundleError):
    """The model gives no probability for some valid rows. ``rows`` maps the position of each of them to why, without values."""

    def __init__(self, rows: Mapping[int, str]) -> None:
        first = min(rows)
        more = f", and for {len(rows) - 1} more rows" if len(rows) > 1 else ""
        super().__init__(f"the model gives no probability for row {first} ({rows[first]}){more}")
        self.rows = dict(rows)


class PublishError(BundleError):
    """The pipeline, frame or annotations cannot become a bundle; the message says what to change."""
