"""One soak: a system, clients, swaps of good and bad models, faults, and what is left of it all."""

from __future__ import annotations

import contextlib
import hashlib
import os
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.load.background import Background
from modelbundle.format import archive, bundle, manifest, values
from tests.conftest import Made
from tests.integration.system import System, running, until
from tests.soak.clients import Clients
from tests.soak.disks import small_disks
from tests.soak.faults import Faults

SWAPS = 6  # a run has at least so many, and each kind of fault once,
MORE = 120.0  # seconds longer if need be: a busy machine is slow, and proves nothing by that
WARM = 20.0  # seconds after which a worker's memory counts
LIVED = 20.0  # seconds beyond that it must have lived for its growth to be judged


@dataclass
class Watch(Background):
    """Samples memory of its own, in bytes, and open files of every worker, once a second."""

    system: System
    samples: dict[int, list[tuple[float, int, int]]] = field(default_factory=dict)

    def repeat(self, number: int) -> None:
        while not self.stopping.wait(1):
            with contextlib.suppress(OSError):
                for pid in self.system.workers():
                    self.samples.setdefault(pid, []).append((time.monotonic(), *_sizes(pid)))

    def growth(self, what: int) -> list[int]:
        """Of each worker that lived long enough: the median of its last ten samples less that of ten after its warm-up."""
        found = []
        for samples in self.samples.values():
            warm = [sample for sample in samples if sample[0] > samples[0][0] + WARM]
            if len(warm) >= 20 and warm[-1][0] - warm[0][0] >= LIVED:
                last, first = ([s[what] for s in part] for part in (warm[-10:], warm[:10]))
                found.append(int(statistics.median(last) - statistics.median(first)))
        return found


def _sizes(pid: int) -> tuple[int, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("utf-8").splitlines()
    private = sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))
    files = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            files += not os.readlink(descriptor).startswith("socket:")  # clients come and go between the workers
    return private, files


def soak(root: Path, bundles: list[Made], seconds: float, swap_every: float, fault_every: float) -> dict[str, Any]:
    """Run for ``seconds``, or until there was enough to see; all that was seen, as one JSON object.

    ``promises`` says of each promise whether it was kept.
    """
    records = [
        {**row, "emp_length": None if row["emp_length"] != row["emp_length"] else row["emp_length"]}
        for row in bundles[0].frame.head(50).to_dict("records")
    ]
    truth = {made.sha256: _truth(made, records) for made in bundles}
    with small_disks(root) as disks, running(root) as system:
        for made in bundles:
            (system.models / made.path.name).write_bytes(made.path.read_bytes())
        system.pin(bundles[0].path.name, bundles[0].sha256)
        system.start_model()
        system.start_predict()
        swaps: Counter[str] = Counter()
        windows: list[tuple[float, float]] = []
        end = time.monotonic() + seconds
        with (
            Watch(system) as watch,
            Clients(system.port, records, truth) as clients,
            Faults(system, fault_every, disks) as faults,
        ):
            number = 0
            while time.monotonic() < end or (
                time.monotonic() < end + MORE and (swaps.total() < SWAPS or not faults.complete())
            ):
                began = time.monotonic()
                number += 1
                kind = _swap(system, bundles, number)
                swaps[kind] += 1
                windows.append((began, time.monotonic()))
                time.sleep(max(0.0, began + swap_every - time.monotonic()))
        return report(clients, faults, watch, swaps, windows)


def _truth(made: Made, records: list[dict[str, Any]]) -> list[float]:
    model = bundle.read(made.path)
    return [float(model.answer(model.validator.record(r).row).predict_proba[1]) for r in records]


def _swap(system: System, bundles: list[Made], number: int) -> str:
    """Three good models, then a bad one, of another kind each time; ends when the system has dealt with it."""
    if number % 4:
        made = bundles[number % 2]
        system.pin(made.path.name, made.sha256)
        system.serving(made.sha256, 60)
        return "good"
    kind = ("golden rows", "cut short", "wrong hash")[number // 4 % 3]
    content = _bad(bundles[number // 4 % 2], kind)
    name = f"bad-{number}.bundle"
    (system.models / name).write_bytes(content)
    sha256 = "0" * 64 if kind == "wrong hash" else hashlib.sha256(content).hexdigest()
    system.pin(name, sha256)
    if kind == "wrong hash":
        until(lambda: name in (system._get(system.model_port, "/pin")[1]["why_not"] or ""), 60, "the pin is refused")
    else:
        until(lambda: (r := system.readyz()[1]["refusal"]) and r["model_version"] == sha256, 60, "the model is refused")
    (system.models / name).unlink()
    # The model service may be killed next, and starts only with a pin that can be served.
    made = bundles[(number - 1) % 2]
    system.pin(made.path.name, made.sha256)
    system.serving(made.sha256, 60)
    return kind


def _bad(made: Made, kind: str) -> bytes:
    content = made.path.read_bytes()
    if kind == "cut short":
        return content[:-500]
    if kind == "wrong hash":
        return content
    entries = archive.unpack(content)
    data = values.loads("manifest.json", entries["manifest.json"])
    data["golden"]["scores"][0] += 1e-6
    entries["manifest.json"] = manifest.dump(data)
    return archive.pack(entries)


def report(
    clients: Clients, faults: Faults, watch: Watch, swaps: Counter[str], windows: list[tuple[float, float]]
) -> dict[str, Any]:
    """The facts, and which promises they keep."""
    blamed = [failure for failure in clients.failures if not faults.excused(failure)]
    calm = [(begin - 1.0, finish + 1.0) for begin, finish in faults.outages] + [(at, at + 2.0) for at in faults.kills]
    quiet = [(sent, took) for sent, took in clients.latencies if not any(b <= sent <= e for b, e in calm)]
    during = [took for sent, took in quiet if any(b <= sent <= e for b, e in windows)]
    outside = [took for sent, took in quiet if not any(b <= sent <= e for b, e in windows)]
    memory, files = watch.growth(1), watch.growth(2)
    p99 = {name: _p99(values) for name, values in (("during_swaps", during), ("outside", outside))}
    ratio = p99["during_swaps"] / p99["outside"] if p99["during_swaps"] and p99["outside"] else None
    return {
        "requests": len(clients.latencies) + len(clients.failures),
        "failures_excused": len(clients.failures) - len(blamed),
        "failures": [failure.what for failure in blamed][:20],
        "failed": len(blamed),
        "stale": clients.stale,
        "wrong_version": clients.wrong,
        "swaps": dict(swaps),
        "generations": len(clients.generations),
        "faults": dict(faults.count),
        "disks_can_be_full": bool(faults.disks),
        "trouble": faults.trouble,
        "memory_growth_bytes": memory,
        "open_files_growth": files,
        "p99_ms": {name: round(value * 1000, 2) if value else None for name, value in p99.items()},
        "p99_ratio": round(ratio, 2) if ratio else None,
        "promises": {
            "no request failed but those sent to a killed process": not blamed,
            "no stale answer": clients.stale == 0,
            "no answer with another version's probability": clients.wrong == 0,
            "every fault healed": not faults.trouble,
            "memory grew by at most 5 MB per worker": max(memory, default=0) <= 5_000_000,
            "no open files were left": max(files, default=0) <= 2,
        },
    }


def _p99(values: list[float]) -> float | None:
    return statistics.quantiles(values, n=100)[98] if len(values) >= 100 else None
