"""``make bench-swaps``: what a swap does to the latency of others, and what more workers weigh, each as a ratio with its limit.

Two parts, each with the shipped model and with a forest that is made for it (:mod:`benchmarks.swaps.forests`):

- *Latency.* One loan per request at a fixed rate, while two models are swapped again and again: p99 of the requests that were
  due between the change of the pin and the new model's answer, divided by the p99 of those of the calm seconds before. The
  figure is the median of all swaps, so that what else the machine does for a while does not decide. Its limit on this machine
  is the same ratio while a process that has nothing to do with the replica imports modules, as a rehearsal does.
- *Memory.* The proportional set size of a replica with four workers, divided by that with one. It is taken in turns.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.__main__ import loans
from benchmarks.footprint import proportional_set_size
from benchmarks.load.closed_loop import post
from benchmarks.load.fixed_rate import Request, Steady
from benchmarks.serving import Subjects, ask
from benchmarks.swaps import forests
from modelbundle.durable import write
from modelbundle.format import archive, manifest, values

LATENCY_LIMIT, MEMORY_LIMIT = 1.2, 1.3
PATIENCE = 60.0  # seconds
ASKED = 400  # requests before memory is taken
SETTLE = 3.0  # seconds after them
Window = tuple[float, float]
MARGIN = 1.0  # seconds after a swap in which its old model goes


def main() -> int:
    """Measure and print; returns 1 where a limit is not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.swaps", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/late-payers.bundle"))
    parser.add_argument("--swaps", type=int, default=12, help="of each pair of models")
    parser.add_argument("--pause", type=float, default=4.0, help="seconds between swaps")
    parser.add_argument("--rate", type=float, default=150.0, help="requests a second")
    parser.add_argument("--forest", type=float, default=50.0, help="megabytes of the forests that are swapped")
    parser.add_argument("--large", type=float, default=200.0, help="megabytes of the forest whose memory is measured")
    parser.add_argument("--rounds", type=int, default=3, help="of memory")
    parser.add_argument("--checkout", type=Path, help="measure the code of another checkout")
    parser.add_argument("--only", choices=("latency", "memory"))
    options = parser.parse_args()
    kept = []
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        shipped = options.model.read_bytes()
        if options.only != "memory":
            pairs = {
                "shipped model": [_copy(shipped, models / f"shipped-{n}.bundle", n) for n in range(2)],
                f"forest of {options.forest:g} MB": [
                    forests.make(options.model, models / f"forest-{n}.bundle", options.forest, seed=n) for n in range(2)
                ],
            }
            kept += [latency(name, pair, options) for name, pair in pairs.items()]
        if options.only != "latency":
            large = forests.make(options.model, models / "large.bundle", options.large)
            kept.append(memory("shipped model", options.model, options))
            kept.append(memory(f"forest of {options.large:g} MB", large, options))
    return 0 if all(kept) else 1


def _copy(content: bytes, path: Path, number: int) -> Path:
    """The same model under another hash."""
    entries = archive.unpack(content)
    data = values.loads(manifest.NAME, entries[manifest.NAME])
    data["title"] = f"{data['title']} {number}"
    entries[manifest.NAME] = manifest.dump(data)
    write(path, archive.pack(entries))
    return path


class Replica:
    """A model service whose pin is in a file, and a replica; both end with the ``with`` block."""

    def __init__(self, folder: Path, models: Path, checkout: Path | None, workers: int = 2) -> None:
        self.subjects = Subjects(models / "any", folder, checkout)
        self.models = models
        self.pin_file = folder / "pin.json"
        self.workers = workers

    @property
    def port(self) -> int:
        """Where it answers."""
        return self.subjects.ports["ours"]

    def pin(self, path: Path) -> str:
        """Write the pin, with the gates lifted: the models are made up. Returns the SHA-256."""
        sha256 = archive.digest(path.read_bytes())
        content = {"file": path.name, "sha256": sha256, "allow": ["contract", "scores", "probation"]}
        write(self.pin_file, json.dumps(content).encode())
        return sha256

    def start(self) -> None:
        """Start both, once there is a pin."""
        settings = {"MODEL_DIR": str(self.models), "MODEL_PIN_FILE": str(self.pin_file)}
        self.subjects.spawn("model", ["services.model"], **settings)
        own = {name: str(self.subjects.folder / name) for name in ("STATE_DIR", "DATA_DIR")}
        url = {"MODEL_SERVER_URL": self.subjects.model_url(), "PREDICTION_LOG_URL": "", "WORKERS": str(self.workers)}
        self.subjects.spawn("ours", ["services.predict"], **own, **url)

    def serving(self, sha256: str) -> None:
        """Wait until it answers with a model; raises :class:`TimeoutError`."""
        if not self.watch(PATIENCE, sha256):
            raise TimeoutError(f"{sha256[:8]} does not answer; see {self.subjects.folder}/ours.log")

    def watch(self, seconds: float, sha256: str | None = None) -> bool:
        """Ask again and again which model answers, until it is this one; whether it was within ``seconds``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError):
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                connection.request("GET", "/readyz")
                facts = json.loads(connection.getresponse().read())
                connection.close()
                if sha256 is not None and facts.get("model_version") == sha256:
                    return True
            time.sleep(0.02)
        return False


@contextlib.contextmanager
def running(models: Path, first: Path, checkout: Path | None, workers: int = 2) -> Iterator[Replica]:
    """A replica that answers with a model."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # a companion may end after its replica
        replica = Replica(Path(folder), models, checkout, workers)
        sha256 = replica.pin(first)
        try:
            replica.start()
            replica.serving(sha256)
            yield replica
        finally:
            replica.subjects.stop()


def latency(name: str, pair: list[Path], options: argparse.Namespace) -> bool:
    """Swap two models again and again under load; whether the limit is kept."""
    request = Request(post(json.dumps(loans(1)[0]).encode()), 1)
    windows: list[Window] = []
    others: list[Window] = []
    with (
        running(pair[0].parent, pair[0], options.checkout) as replica,
        Steady(replica.port, [request], options.rate) as load,
    ):
        replica.watch(options.pause)
        for number in range(1, options.swaps + 1):
            began = time.perf_counter()
            replica.serving(replica.pin(pair[number % 2]))
            windows.append((began, time.perf_counter()))
            replica.watch(options.pause)  # as in a swap: watching takes time of the processors, too
            with importing():
                began = time.perf_counter()
                replica.watch(windows[-1][1] - windows[-1][0])
                others.append((began, time.perf_counter()))
            replica.watch(options.pause)
    if load.failures:
        raise AssertionError(f"{len(load.failures)} requests failed, as {load.failures[0][1]}: nothing is measured")
    swaps, floor = (
        [_during(load.latencies, window, options.pause - MARGIN) for window in found] for found in (windows, others)
    )
    ratio, least = (statistics.median(during / before for during, before, _ in found) for found in (swaps, floor))
    during, before, longest = (statistics.median(figures) * 1000 for figures in zip(*swaps, strict=True))
    seconds = statistics.median(end - begin for begin, end in windows)
    figures = (
        f"{during:.1f} ms in {len(windows)} swaps of {seconds:.1f} s, {before:.1f} ms before; longest {longest:.0f} ms; "
        f"{least:.2f} while an unrelated process imports modules"
    )
    return _told(f"p99 in swaps / outside, {name}", ratio, LATENCY_LIMIT, f"medians: {figures}")


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """A process that starts a Python with the modules of a rehearsal, again and again; it ends with the ``with`` block."""
    program = [sys.executable, "-c", "import services.predict.examination"]
    again = "import subprocess, sys\nwhile True: subprocess.run(sys.argv[1:])"
    process = subprocess.Popen([sys.executable, "-c", again, *program], start_new_session=True)
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _during(latencies: list[tuple[float, int, float]], window: Window, calm: float) -> tuple[float, ...]:
    """Of one window, in seconds: p99 in it, p99 in the ``calm`` seconds before it, and the longest in it."""
    begin, end = window
    during = [took for since, _, took in latencies if begin <= since <= end]
    before = [took for since, _, took in latencies if begin - calm <= since < begin]
    return *(statistics.quantiles(found, n=100)[98] for found in (during, before)), max(during)


def memory(name: str, model: Path, options: argparse.Namespace) -> bool:
    """Weigh a replica with one worker and with four, in turns; whether the limit is kept."""
    seen: dict[int, list[float]] = {1: [], 4: []}
    body = json.dumps(loans(1)[0]).encode()
    for _ in range(options.rounds):
        for workers, found in seen.items():
            with running(model.parent, model, options.checkout, workers) as replica:
                for _ in range(ASKED):
                    ask(replica.port, body)
                time.sleep(SETTLE)
                found.append(proportional_set_size(replica.subjects.processes[-1].pid) / 1e6)
    ratio = statistics.median(four / one for one, four in zip(*seen.values(), strict=True))
    one, four = (statistics.median(found) for found in seen.values())
    return _told(f"memory of 4 workers / 1, {name}", ratio, MEMORY_LIMIT, f"{four:.0f} MB and {one:.0f} MB")


def _told(what: str, ratio: float, limit: float, figures: Any) -> bool:
    kept = ratio <= limit
    print(f"{what}: {ratio:.2f} (limit {limit}{'' if kept else ', NOT KEPT'}; {figures})", flush=True)
    return kept


if __name__ == "__main__":
    sys.exit(main())
