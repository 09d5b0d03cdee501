"""Asks a service of advisories about the locked packages of both images: ``make audit-dependencies``.

What ``vex.openvex.json`` says does not apply is listed, and does not count. Exit code 0: nothing else is known. 1: a
vulnerability is known, or a package was not audited. 2: no service could be asked; with ``--if-reachable`` that is 0, and it is
said why.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
VEX = Path(__file__).with_name("vex.openvex.json")
LOCKED = ("predict", "model")
MOST_SECONDS = 900


class Unreachable(Exception):
    """The service gives no answer; the message is why."""


class NotAudited(Exception):
    """The service answers, and the audit failed all the same."""


def ask(requirements: Path, options: list[str]) -> list[dict[str, Any]]:
    """Each package of a file of requirements with its ``vulns``, or with a ``skip_reason``. Raises :class:`NotAudited`."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "found.json"
        command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--require-hashes", "--no-deps"]
        shown = ["--progress-spinner", "off", "-f", "json", "-o", str(out)]
        try:
            done = subprocess.run(
                [*command, *shown, *options, "-r", str(requirements)],
                capture_output=True,
                text=True,
                encoding="utf-8",
                errors="replace",
                timeout=MOST_SECONDS,
                check=False,
            )
            return list(json.loads(out.read_text("utf-8"))["dependencies"])
        except subprocess.TimeoutExpired:
            raise NotAudited(f"no answer within {MOST_SECONDS} s") from None
        except (OSError, ValueError, KeyError):
            lines = done.stderr.strip().splitlines() or [f"exit {done.returncode}"]
            raise NotAudited(lines[-1][:300]) from None


def probe(locked: Path, options: list[str]) -> None:
    """Ask about the first locked package alone; raises :class:`Unreachable` where there is no answer to that."""
    first, *_ = re.findall(r"^[\w.-]+==\S+ \\\n(?:    --hash=\S+(?: \\)?\n)+", locked.read_text("utf-8"), re.MULTILINE)
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / "first.txt"
        alone.write_text(first, "utf-8")
        try:
            (found,) = ask(alone, options)
        except NotAudited as error:
            raise Unreachable(str(error)) from None
    if "skip_reason" in found:
        raise Unreachable(found["skip_reason"])


def not_affected(vex: dict[str, Any]) -> dict[tuple[str, str], str]:
    """Package and vulnerability, under each of its names, with why it does not apply."""
    found: dict[tuple[str, str], str] = {}
    for each in vex["statements"]:
        if each["status"] == "not_affected":
            names = (each["vulnerability"]["name"], *each["vulnerability"].get("aliases", ()))
            parts = [part["@id"] for product in each["products"] for part in product.get("subcomponents", ())]
            packages = [re.sub(r"^pkg:pypi/([^@?]+).*", r"\1", part) for part in parts]
            found |= {(package, name): each["justification"] for package in packages for name in names}
    return found


def judge(found: list[dict[str, Any]], excused: dict[tuple[str, str], str]) -> list[str]:
    """What is wrong, a line each; what does not apply is printed."""
    wrong = []
    for package in found:
        name = package["name"]
        if reason := package.get("skip_reason"):
            wrong.append(f"{name} was not audited: {reason}")
        for each in package.get("vulns", ()):
            why = next(
                (excused[name, known] for known in (each["id"], *each["aliases"]) if (name, known) in excused), None
            )
            line = f"{name} {package['version']}: {each['id']} ({', '.join(each['aliases']) or 'no other name'})"
            if why:
                print(f"  does not apply: {line}: {why}")
            else:
                wrong.append(f"{line}, fixed in {', '.join(each['fix_versions']) or 'no version'}")
    return wrong


def main(arguments: list[str] | None = None) -> int:
    """Audit both files; returns the exit code."""
    parser = argparse.ArgumentParser(prog="deploy/audit.py", description=__doc__)
    parser.add_argument("--if-reachable", action="store_true", help="exit with 0 where no service can be asked")
    parser.add_argument("options", nargs="*", help="for pip-audit, after --")
    options = parser.parse_args(arguments)
    files = [ROOT / "env-setup" / f"{name}.txt" for name in LOCKED]
    try:
        probe(files[0], options.options)
    except Unreachable as error:
        skipped = "skipped" if options.if_reachable else "not done"
        print(
            f"The audit of the dependencies was {skipped}: no service of advisories answers here ({error}).",
            file=sys.stderr,
        )
        return 0 if options.if_reachable else 2
    excused = not_affected(json.loads(VEX.read_text("utf-8")))
    bad = 0
    for file in files:
        try:
            found = ask(file, options.options)
            wrong = judge(found, excused)
        except NotAudited as error:
            found, wrong = [], [f"not audited: {error}"]
        print(f"{file.relative_to(ROOT)}: {len(found)} packages asked about", *wrong, sep="\n  ")
        bad += len(wrong)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
