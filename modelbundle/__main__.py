"""``python -m modelbundle check FILE``: what a model file is, and whether a replica would take it.

Exit codes: 0 it would; 1 it would not, and why; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from modelbundle import bundle, golden
from modelbundle.errors import BundleError
from modelbundle.model import Model


def describe(model: Model) -> dict[str, Any]:
    """The facts of a model that a person asks for first."""
    about = model.manifest
    return {
        "name": about.name,
        "sha256": model.version,
        "scorer": about.scorer.get("kind"),
        "proof": about.scorer.get("proof"),
        "features": list(model.schema.names),
        "bands": [band.label for band in about.bands],
        "golden_rows": len(about.golden.rows),
        "training": about.data.get("training", {}),
        "metrics": about.data.get("metrics", {}),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command; prints the facts as lines, or one JSON object with ``--json``."""
    parser = argparse.ArgumentParser(prog="python -m modelbundle", description=__doc__)
    parser.add_argument("action", choices=["check"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--sha256", help="the hash that the file must have")
    parser.add_argument(
        "--allow-pickle", action="store_true", help="unpickle a model without a compiled scorer: runs its code"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        model = bundle.read(options.file, options.sha256, allow_pickle=options.allow_pickle)
        golden.check(model)
    except (BundleError, OSError) as error:
        print(json.dumps({"error": str(error)}) if options.json else f"{options.file}: {error}", file=sys.stderr)
        return 1
    facts = describe(model)
    if options.json:
        print(json.dumps(facts))
    else:
        for name, value in facts.items():
            print(f"{name + ':':<13}{', '.join(value) if isinstance(value, list) else value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
