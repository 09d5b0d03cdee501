"""Moves the images that the project builds on and runs beside to the digests that their tags have now: ``make base-images``.

A tag can be moved by whoever owns it; a digest names the bytes. The engine asks the registry, so its mirrors and logins hold. All
files change, or none. ``--tags`` takes the digests away again, for an engine that has the images by tag alone.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILES = (
    "services/predict/Dockerfile",
    "services/model/Dockerfile",
    "docker-compose.yml",
    "deploy/swarm/stack.yml",
    "deploy/kubernetes/base/proxy.yaml",
)
OURS = "peerloan/"
DIGEST = r"sha256:[0-9a-f]{64}"
_USED = re.compile(rf"^(FROM |\s*(?:- )?image: )([^\s@#$]+:[^\s@#$]+)(@{DIGEST})?(?=\s|$)", re.MULTILINE)


class NoDigest(Exception):
    """No registry tells the digest of an image; the message says which image and why."""


def used(text: str) -> dict[str, str]:
    """The images of others that a file names, with their digests; empty where it names a tag alone."""
    return {name: (digest or "")[1:] for _, name, digest in _USED.findall(text) if not name.startswith(OURS)}


def rewritten(text: str, digests: Mapping[str, str]) -> str:
    """The text with the digests of these images; an empty digest leaves the tag alone. Other images stay as they are."""

    def one(found: re.Match[str]) -> str:
        name = found[2]
        if name not in digests:
            return found[0]
        return f"{found[1]}{name}@{digests[name]}" if digests[name] else f"{found[1]}{name}"

    return _USED.sub(one, text)


def resolve(name: str) -> str:
    """The digest that the registry gives for a tag, of all platforms together. Raises :class:`NoDigest`."""
    inspected, why = _docker("buildx", "imagetools", "inspect", name, "--format", "{{json .Manifest}}")
    found = re.search(rf'"digest":\s*"({DIGEST})"', inspected)
    if not found:  # an engine without buildx
        _, why = _docker("pull", "--quiet", name)
        inspected, _ = _docker("image", "inspect", name, "--format", "{{json .RepoDigests}}")
        found = None if why else re.search(rf"@({DIGEST})", inspected)
    if not found:
        raise NoDigest(f"{name}: {why or 'the registry names no digest'}")
    return found[1]


def _docker(*arguments: str) -> tuple[str, str]:
    """What the command prints, and why it failed; empty where it did not."""
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=600, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"docker cannot be asked ({type(error).__name__})"
    if done.returncode == 0:
        return done.stdout, ""
    return "", (done.stderr.strip().splitlines() or [f"exit {done.returncode}"])[-1][:300]


def main(arguments: list[str] | None = None) -> int:
    """Move the digests, or say what is not by digest; returns the exit code."""
    parser = argparse.ArgumentParser(prog="deploy/base_images.py", description=__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--tags", action="store_true", help="take the digests away")
    choice.add_argument(
        "--check", action="store_true", help="only say which images are named by tag alone; 1 where any is"
    )
    options = parser.parse_args(arguments)
    texts = {ROOT / name: (ROOT / name).read_text("utf-8") for name in FILES}
    found = {name: digest for text in texts.values() for name, digest in used(text).items()}
    if options.check:
        loose = sorted(name for name, digest in found.items() if not digest)
        if loose:
            print(f"by tag, not by digest: {', '.join(loose)}; `make base-images` moves them", file=sys.stderr)
        return int(bool(loose))
    try:
        digests = {name: "" if options.tags else resolve(name) for name in sorted(found)}
    except NoDigest as error:
        print(f"nothing was changed: {error}", file=sys.stderr)
        return 1
    for path, text in texts.items():
        path.write_text(rewritten(text, digests), "utf-8")
    print(json.dumps(digests, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
