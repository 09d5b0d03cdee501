"""``make attack``: the tests that are attacks, against processes that they start on loopback, and the table of what came.

The table goes into ``docs/threat-model.md`` unless ``--check`` is given. Exit code 0 when every promise was kept.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import os
import platform
import sys
import time
from pathlib import Path

import pytest

from modelbundle import durable
from tests.attacks.known import ATTACKS
from tests.attacks.plugin import Account, Attack

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "threat-model.md"
BEGIN, END = "<!-- attacks -->\n", "<!-- /attacks -->\n"


def table(attacks: dict[str, Attack], seconds: float) -> str:
    """The rows as Markdown, with the date and the versions below them."""
    lines = ["| what was done | times | what came | what is promised | kept |", "|---|--:|---|---|---|"]
    for name, (done, promised) in ATTACKS.items():
        each = attacks.get(name, Attack())
        kept = "**no**" if each.broken else "yes" if each.sent else "not tried here"
        came = "; ".join(dict.fromkeys(each.came)) or ("as promised" if kept == "yes" else "")
        tests = ", ".join(sorted(f"*{test.rpartition('::')[2]}*" for test in each.tests))
        lines.append(f"| {done} | {each.sent:,} | {came} | {promised} ({tests}) | {kept} |")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("flask", "gunicorn"))
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    lines += [
        "",
        f"Written by `make attack` on {day} in {seconds:.0f} s: Python {platform.python_version()}, {versions}, "
        f"Linux {platform.release().partition('-')[0]}, {os.cpu_count()} processors.",
        "",
    ]
    return "\n".join(lines)


def replaced(page: str, rows: str) -> str:
    """The page with ``rows`` between its two marks."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n{rows}\n{END}{rest.partition(END)[2]}"


def main() -> int:
    """Run the attacks, print the table and keep it."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument("--check", action="store_true", help="leave the page as it is")
    parser.add_argument("tests", nargs="*", default=["tests/unit", "tests/integration"])
    options = parser.parse_args()
    account = Account()
    began = time.monotonic()
    arguments = ["-q", "-m", "attack and not docker", "-n", "3", "-p", "no:cacheprovider", *options.tests]
    code = pytest.main(arguments, plugins=[account])
    rows = table(account.attacks, time.monotonic() - began)
    print(rows)
    broken = any(attack.broken for attack in account.attacks.values())
    if not options.check and account.attacks:
        durable.write(PAGE, replaced(PAGE.read_text("utf-8"), rows).encode())
    return 1 if broken or code != pytest.ExitCode.OK else 0


if __name__ == "__main__":
    sys.exit(main())
