"""``python -m tests.soak [--minutes 10]``: exit code 0 when every promise was kept."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.conftest import make_bundles
from tests.soak.run import soak


def main() -> int:
    """Run, and print the facts as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--swap-every", type=float, default=3, help="seconds")
    parser.add_argument("--fault-every", type=float, default=17, help="seconds")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        bundles = make_bundles(root / "bundles")
        facts = soak(root / "run", bundles, options.minutes * 60, options.swap_every, options.fault_every)
    print(json.dumps(facts, indent=2))
    broken = [promise for promise, kept in facts["promises"].items() if not kept]
    for promise in broken:
        print(f"broken: {promise}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
