"""The published head of a spool's chain: a small file, which a probe may read. Imports no database."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE = "chain.json"  # in the directory of the spool
NAME = re.compile("[a-z0-9]{1,32}")
FORM = {"spool": str, "number": int, "hash": str}


def published(root: Path) -> dict[str, Any] | None:
    """The head that the shipper of a spool wrote last, and the ``others`` that it knew; None where there is none yet."""
    try:
        found = json.loads((root / FILE).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("spool"), str) else None


def heads(said: Any) -> Iterator[dict[str, Any]]:
    """The heads in such a file or in an event: itself, one as ``chain``, and ``others``. What has another form is left out."""
    if isinstance(said, dict):
        others = said.get("others")
        for one in (said, said.get("chain"), *(others if isinstance(others, list) else ())):
            if (
                isinstance(one, dict)
                and all(isinstance(one.get(name), kind) for name, kind in FORM.items())
                and NAME.fullmatch(one["spool"])
                and 0 < one["number"] < 2**63
            ):
                yield one
