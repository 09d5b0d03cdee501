"""The command: one run of the tests for each variation, and which of them failed.

``make test-variations`` runs ``tests/unit``; arguments are passed to pytest instead.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

LIBRARIES = (
    "/usr/lib/*/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
)


def older_processor() -> dict[str, str]:
    """Without what NumPy, OpenBLAS and the C library choose for newer processors."""
    extensions = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    found = {"NPY_DISABLE_CPU_FEATURES": " ".join(extensions)}
    if platform.machine() == "x86_64":
        found |= {"OPENBLAS_CORETYPE": "Sandybridge", "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX2,-FMA,-AVX"}
    return found


def other_processor() -> dict[str, str]:
    """OpenBLAS as it is on the other kind of new processor, where this one can run it."""
    if platform.machine() != "x86_64":
        return {}
    wide = "avx512f" in Path("/proc/cpuinfo").read_text("utf-8")
    return {"OPENBLAS_CORETYPE": "Haswell" if wide else "Nehalem"}


def midnight(library: Path, folder: str) -> dict[str, str]:
    """The clock that :class:`tests.variations.plugin.Midnight` sets. Monotonic clocks and file times go on as they are."""
    file = Path(folder) / "ahead"
    file.write_text("+0\n", "utf-8")
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def variations(folder: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Name and environment of each run."""
    hashes = {"PYTHONHASHSEED": "0", "TZ": "Asia/Kolkata", "LC_ALL": "C"}
    yield "an older processor, India's time, no locale", {**older_processor(), **hashes}
    order = {"PYTHONHASHSEED": "1", "TZ": "America/St_Johns", "VARY": "directories,bits", "UMASK": "077"}
    yield "other last bits, directories in another order, a strict umask", {**other_processor(), **order}
    libraries = (path for pattern in LIBRARIES for path in Path("/").glob(pattern[1:]))
    library = next(libraries, None)
    if library is None:
        print("not varied: the clock (libfaketime is not installed; on Debian: apt install faketime)")
        return
    clock = {**midnight(library, folder), "PYTHONHASHSEED": "2", "TZ": "Pacific/Kiritimati"}
    yield "each test begins just before midnight", {**clock, "VARY": "midnight"}
    yield "each test begins just after midnight", {**clock, "VARY": "midnight", "VARY_BEFORE": "-2"}


def run(environment: dict[str, str], arguments: list[str]) -> int:
    """The tests in an environment; returns pytest's exit code."""
    umask = int(environment.pop("UMASK", "022"), 8)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.variations.plugin", *arguments]
    return subprocess.run(command, env={**os.environ, **environment}, umask=umask).returncode


def main(arguments: list[str]) -> int:
    """Run all; returns the exit code."""
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for name, environment in variations(folder):
            print(f"\n{name}: {' '.join(f'{k}={v}' for k, v in environment.items())}", flush=True)
            if run(dict(environment), arguments or ["tests/unit"]):
                failed.append(name)
    print("\nthe tests failed with: " + "; ".join(failed) if failed else "\nthe tests passed with all variations")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
