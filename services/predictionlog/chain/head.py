"""The published head of a spool's chain: a small file, which a probe may read. Imports no database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = "chain.json"  # in the directory of the spool


def published(root: Path) -> dict[str, Any] | None:
    """The head that the shipper of a spool wrote last; None where there is none yet."""
    try:
        found = json.loads((root / FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("spool"), str) else None
