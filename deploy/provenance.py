"""Writes the provenance of an image next to its archive, signed: a part of ``make release KEY=path``.

``python deploy/provenance.py predict dist/peerloan-predict-0.1.0.tar.gz --key PATH --image sha256:… --argument VERSION=0.1.0``
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

from deploy import base_images  # noqa: E402
from modelbundle.errors import BundleError  # noqa: E402
from modelbundle.publishing import provenance  # noqa: E402

BUILT = "urn:peerloan:build:image:v1"  # docs/releasing.md says what it holds


def dependencies(name: str, revision: str) -> list[dict[str, Any]]:
    """The commit, what the image is built with, and what it is built on; that has a digest where it is named by one."""
    files = (f"services/{name}/Dockerfile", f"env-setup/{name}.txt")
    found: list[dict[str, Any]] = []
    if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", revision):
        found.append({"name": "source", "digest": {"gitCommit": revision}})
    found += [
        {"name": file, "digest": {"sha256": hashlib.sha256((ROOT / file).read_bytes()).hexdigest()}} for file in files
    ]
    for image, digest in base_images.used((ROOT / files[0]).read_text("utf-8")).items():
        where, _, tag = image.partition(":")
        kind, _, value = digest.partition(":")
        found.append({"uri": f"pkg:docker/{where}@{tag}", **({"digest": {kind: value}} if digest else {})})
    return found


def git(*arguments: str) -> str:
    """What git prints; empty where there is no repository."""
    done = subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def main(arguments: list[str] | None = None) -> int:
    """Write it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="deploy/provenance.py", description=__doc__)
    parser.add_argument("name", choices=("predict", "model"))
    parser.add_argument("archive", type=Path)
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("--image", default="", help="the image's id, sha256:…")
    parser.add_argument("--argument", action="append", default=[], metavar="NAME=VALUE", help="of the build")
    options = parser.parse_args(arguments)
    given = dict(each.split("=", 1) for each in options.argument)
    build = provenance.Build(
        BUILT,
        {"dockerfile": f"services/{options.name}/Dockerfile", "arguments": given},
        dependencies(options.name, git("rev-parse", "HEAD") or given.get("REVISION", "")),
        internal={"changedSinceTheCommit": bool(git("status", "--porcelain"))},
    )
    image = {f"peerloan/{options.name}": options.image.removeprefix("sha256:")} if options.image else {}
    try:
        print(provenance.sign_file(options.archive, options.key, build, image))
    except (BundleError, OSError) as error:
        print(f"{options.archive}: no provenance: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
