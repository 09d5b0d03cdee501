"""The prediction log's database is away for minutes, under load: does anybody notice? ``make outage``.

Two replicas side by side, each with a PostgreSQL of its own and the same steady load, well below what they can do. One of the
databases is taken away and brought back. The other replica is the control: what the machine does to both of them at the same
moment cancels in the ratio of their ratios.

Exit codes: 0 every promise was kept; 1 one was broken; 2 it could not be tried. Times are reported, never judged.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.__main__ import loans
from benchmarks.load import closed_loop
from benchmarks.load.fixed_rate import Request, Steady
from benchmarks.postgres import WAYS, Postgres
from benchmarks.serving import Subjects
from services.predictionlog import spool

AWAY, CONTROL = "away", "control"
SINGLES, BATCH = 19, 50  # single loans for each batch, and the loans in that
WARM = 5.0  # seconds
PATIENCE = 600.0  # seconds for what waits to arrive
SCRAPE = 5.0  # seconds between looks at /metrics, as a Prometheus would
PHASES = ("before", "away", "arriving", "after")


@contextlib.contextmanager
def databases(names: Sequence[str]) -> Iterator[dict[str, Postgres]]:
    """One of each name, ready; removed at the end."""
    with contextlib.ExitStack() as stack:
        found = {}
        for name in names:
            found[name] = Postgres()
            stack.callback(found[name].remove)
        for one in found.values():
            one.wait()
        yield found


@contextlib.contextmanager
def replicas(model: Path, urls: dict[str, str], body: bytes) -> Iterator[Subjects]:
    """A replica for each database, all of them answering; stopped at the end."""
    with tempfile.TemporaryDirectory() as folder:
        subjects = Subjects(model, Path(folder))
        try:
            subjects.start_model()
            for name, url in urls.items():
                subjects.start_ours(name, url)
            subjects.wait(body)
            yield subjects
        finally:
            subjects.stop()


def outage(model: Path, how: str, seconds: float, window: float, rate: float) -> dict[str, Any]:
    """All that was seen, as one JSON object. ``promises`` says of each promise whether it was kept.

    Raises :class:`RuntimeError` where there is no PostgreSQL to be had.
    """
    single, batch = json.dumps(loans(1)[0]).encode(), json.dumps(loans(BATCH)).encode()
    requests = [Request(closed_loop.post(single), 1)] * SINGLES + [Request(closed_loop.post(batch), BATCH)]
    names = (AWAY, CONTROL)
    with databases(names) as found, replicas(model, {n: found[n].url for n in names}, single) as subjects:
        callers = {name: Steady(subjects.ports[name], requests, rate) for name in names}
        # What asked whether they answer is logged too, and nobody kept its id.
        for name in names:
            subjects.settle(name)
        strangers = {name: found[name].predictions() for name in names}
        with callers[AWAY], callers[CONTROL]:
            marks, spooled = take_away(subjects, found[AWAY], how, seconds, window)
        arrived = {name: settled(subjects, name) for name in names}
        logged = {name: found[name].predictions() - strangers[name] for name in names}
    facts: dict[str, Any] = {"how": how, "seconds": seconds, "requests_per_second": rate, **spooled}
    facts["seconds_to_arrive"] = marks[3] - marks[2]
    facts["replicas"] = {name: seen(callers[name], marks, logged[name]) for name in names}
    facts["growth"] = growth(facts["replicas"])
    both = facts["replicas"].values()
    facts["promises"] = {
        "no request fails": not any(one["failed"] for one in both),
        "everything has arrived": all(arrived.values()),
        "nothing that a client was told of is missing": not any(one["missing"] for one in both),
        "nothing is there that no client was told of": not any(one["extra"] for one in both),
        "no two predictions have the same id": not any(one["told_twice"] for one in both),
        "the database was away": spooled["oldest_seconds"] > seconds / 2,
    }
    return facts


def take_away(
    subjects: Subjects, database: Postgres, how: str, seconds: float, window: float
) -> tuple[list[float], dict[str, float]]:
    """When each phase began, and when the last one ended; and what waited when the database came back."""
    watch(subjects, min(WARM, window))
    marks = [time.perf_counter()]
    watch(subjects, window)
    marks.append(time.perf_counter())
    database.leave(how)
    watch(subjects, seconds)
    root = subjects.spool(AWAY)
    waiting, oldest = spool.waiting(root), spool.oldest(root) or time.time()
    spooled = {
        "segments": len(waiting),
        "megabytes": spool.size(root) / 1e6,
        "oldest_seconds": time.time() - oldest,
    }
    marks.append(time.perf_counter())
    database.come_back(how)
    deadline = time.perf_counter() + PATIENCE
    while waiting & spool.waiting(root) and time.perf_counter() < deadline:
        time.sleep(0.1)
    marks.append(time.perf_counter())
    watch(subjects, window)
    marks.append(time.perf_counter())
    return marks, spooled


def watch(subjects: Subjects, seconds: float) -> None:
    """Let time pass, and scrape all replicas meanwhile."""
    end = time.perf_counter() + seconds
    while (left := end - time.perf_counter()) > 0:
        for name in (AWAY, CONTROL):
            with urllib.request.urlopen(f"http://127.0.0.1:{subjects.ports[name]}/metrics", timeout=30) as answer:
                answer.read()
        time.sleep(min(SCRAPE, left))


def settled(subjects: Subjects, name: str) -> bool:
    """Whether all that was spooled is in the database, after a while."""
    try:
        subjects.settle(name, PATIENCE)
    except TimeoutError:
        return False
    return True


def seen(caller: Steady, marks: list[float], logged: set[str]) -> dict[str, Any]:
    """What one replica's clients saw, by phase, and how that compares with its database."""
    told = set(caller.told)
    phases = {}
    for phase, begin, end in zip(PHASES, marks, marks[1:], strict=False):
        asked = [one for one in caller.latencies if begin <= one[0] < end]
        singles = sorted(took for _, rows, took in asked if rows == 1)
        batches = [took for _, rows, took in asked if rows > 1]
        phases[phase] = {
            "seconds": end - begin,
            "answers": len(asked),
            "failed": sum(begin <= at < end for at, _ in caller.failures),
            "p50": statistics.median(singles) if singles else None,
            "p99": singles[int(0.99 * len(singles))] if singles else None,
            "batch_p50": statistics.median(batches) if batches else None,
        }
    return {
        "answers": len(caller.latencies),
        "failed": len(caller.failures),
        "failures": [what for _, what in caller.failures[:5]],
        "told": len(told),
        "told_twice": len(caller.told) - len(told),
        "missing": len(told - logged),
        "extra": len(logged - told),
        "phases": phases,
    }


def growth(replicas: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Latency of single loans while the database is away, and while what waited arrives, as a ratio to that before and after.

    ``beside_control`` is the ratio of that ratio to the control's.
    """
    found = {}
    for phase in ("away", "arriving"):
        for figure in ("p50", "p99"):
            ratio = {}
            for name, one in replicas.items():
                phases = one["phases"]
                values = [phases[p][figure] for p in ("before", phase, "after")]
                if None in values:  # so short that nobody asked
                    break
                ratio[name] = 2 * values[1] / (values[0] + values[2])
            else:
                found[f"{phase}, {figure}"] = {**ratio, "beside_control": ratio[AWAY] / ratio[CONTROL]}
    return found


def table(facts: dict[str, Any]) -> str:
    """The facts for a person."""
    lines = [
        f"The database was {facts['how']} for {facts['seconds']:g} s; {facts['requests_per_second']:g} requests/s."
    ]
    lines += ["", "| database | phase | s | answers | failed | p50 ms | p99 ms | batch p50 ms |", "|---" * 8 + "|"]
    for name, one in facts["replicas"].items():
        for phase, p in one["phases"].items():
            times = ("-" if t is None else f"{1e3 * t:.2f}" for t in (p["p50"], p["p99"], p["batch_p50"]))
            cells = (name, phase, f"{p['seconds']:.1f}", f"{p['answers']:,}", str(p["failed"]), *times)
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| against before and after | away | control | beside control |", "|---" * 4 + "|"]
    for name, ratio in facts["growth"].items():
        lines.append(f"| {name} | {' | '.join(f'{value:.2f} ×' for value in ratio.values())} |")
    lines += [
        "",
        f"{facts['megabytes']:.1f} MB in {facts['segments']} segments waited when it came back, the oldest for "
        f"{facts['oldest_seconds']:.0f} s; they arrived within {facts['seconds_to_arrive']:.1f} s.",
    ]
    for name, one in facts["replicas"].items():
        lines.append(
            f"{name}: {one['told']:,} predictions were told, {one['missing']} are missing, {one['extra']} are not anybody's."
        )
    return "\n".join(lines)


def positive(text: str) -> float:
    """A number above 0."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def main() -> int:
    """Run, print, and say what was broken; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.outage", description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("models/late-payers.bundle"))
    parser.add_argument("--how", choices=list(WAYS), default="silent", help="paused, or killed (%(default)s)")
    parser.add_argument("--seconds", type=positive, default=300.0, help="how long it is away (%(default)g)")
    parser.add_argument(
        "--window", type=positive, default=30.0, help="seconds of normal service before and after (%(default)g)"
    )
    parser.add_argument("--rate", type=positive, default=200.0, help="requests a second, of each replica (%(default)g)")
    parser.add_argument("--json", action="store_true", help="the facts as JSON")
    options = parser.parse_args()
    try:
        facts = outage(options.model, options.how, options.seconds, options.window, options.rate)
    except (OSError, RuntimeError) as error:
        print(f"outage: {error}", file=sys.stderr)
        return 2
    print(json.dumps(facts, indent=1) if options.json else table(facts))
    broken = [promise for promise, kept in facts["promises"].items() if not kept]
    for promise in broken:
        print(f"broken: {promise}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
