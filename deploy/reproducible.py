"""Builds each image twice from nothing and compares every file of what it adds: ``make reproducible``.

Compared are path, kind, mode, owner and content; times are not, since the engine stamps directories with the time of the build.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURS = ("app/", "opt/venv/", "etc/passwd", "etc/group", "var/lib/peerloan")


def build(name: str, tag: str) -> dict[str, tuple[int, int, int, str]]:
    """Each file of ours in a fresh build: mode, owner, group, and the content's SHA-256 or the link's target."""
    command = [
        "docker",
        "build",
        "--no-cache",
        "--network",
        "host",
        "-q",
        "-t",
        tag,
        "-f",
        f"services/{name}/Dockerfile",
        ".",
    ]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    container = subprocess.run(["docker", "create", tag], capture_output=True, text=True, check=True).stdout.strip()
    found = {}
    with (
        subprocess.Popen(["docker", "export", container], stdout=subprocess.PIPE) as export,
        tarfile.open(fileobj=export.stdout, mode="r|") as archive,
    ):
        for member in archive:
            if member.name.startswith(OURS):
                file = archive.extractfile(member) if member.isfile() else None
                content = hashlib.sha256(file.read()).hexdigest() if file else member.linkname
                found[member.name] = (member.mode, member.uid, member.gid, content)
    subprocess.run(["docker", "rm", container], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["docker", "rmi", tag], check=True, stdout=subprocess.DEVNULL)
    return found


def main() -> int:
    """Compare; 1 where any file differs."""
    bad = 0
    for name in ("model", "predict"):
        first, second = (build(name, f"peerloan/{name}:reproducible-{turn}") for turn in (1, 2))
        differ = sorted(path for path in first.keys() | second.keys() if first.get(path) != second.get(path))
        print(f"{name}: {len(first)} files, {len(differ)} differ", *differ[:20], sep="\n  ")
        bad += len(differ)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
