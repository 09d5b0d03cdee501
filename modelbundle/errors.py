"""Everything that can be wrong with a bundle.

::

    BundleError
    ├── FormatError        the bytes are not a bundle: archive, manifest, tables
    ├── HashMismatch       the bytes are not the ones that were pinned
    ├── RuntimeMismatch    the bundle needs other versions than those installed
    ├── GoldenMismatch     the model does not reproduce what its publisher saw
    ├── StatementError     the signed statement is missing, forged, old, or about another model
    └── PublishError       a pipeline, frame or description cannot become a bundle

Each carries its facts as attributes, so that a service can log and report them without parsing text.
"""

from __future__ import annotations


class BundleError(Exception):
    """Base of all errors about bundles; ``str()`` is one line for people."""


class FormatError(BundleError):
    """The bytes do not follow the bundle format; ``where`` names the part (an entry, a manifest key)."""

    def __init__(self, where: str, detail: str) -> None:
        super().__init__(f"{where}: {detail}")
        self.where = where
        self.detail = detail


class HashMismatch(BundleError):
    """The SHA-256 of the bytes is not the expected one (both lower-case hex)."""

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(f"SHA-256 mismatch: expected {expected}, found {found}")
        self.expected = expected
        self.found = found


class RuntimeMismatch(BundleError):
    """``differences`` maps a package to (needed, installed or None)."""

    def __init__(self, differences: dict[str, tuple[str, str | None]]) -> None:
        parts = [f"{name} {need} needed, {have or 'none'} installed" for name, (need, have) in differences.items()]
        super().__init__("; ".join(parts))
        self.differences = differences


class GoldenMismatch(BundleError):
    """Golden row ``row`` (0-based) gave ``found`` where the publisher saw ``expected``."""

    def __init__(self, row: int, expected: float, found: float) -> None:
        super().__init__(f"golden row {row}: expected {expected!r}, found {found!r}")
        self.row = row
        self.expected = expected
        self.found = found


class StatementError(BundleError):
    """A statement or a key that cannot be accepted; the message says why."""


class PublishError(BundleError):
    """The publisher's input cannot become a bundle; the message says what to change."""
