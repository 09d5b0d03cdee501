"""The tables of a comparison of servers, as Markdown. Ratios are to ours, medians over rounds of the same turn."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.load.closed_loop import Round
from benchmarks.servers.running import OURS, SERVERS
from benchmarks.servers.slow_clients import Healthy
from benchmarks.servers.stopping import Stop


@dataclass
class Found:
    """What was measured of one server; ``rounds`` by the number of loans in a request, ``slow`` by the kind of client.

    ``processor`` has the seconds of processor time for each request of a round, by the number of loans.
    ``probes`` are answers to probes while twice as many clients as there are threads ask for 1,000 loans each.
    """

    rounds: dict[int, list[Round]] = field(default_factory=dict)
    processor: dict[int, list[float]] = field(default_factory=dict)
    megabytes: float = 0.0
    slow: dict[str, Healthy] = field(default_factory=dict)
    probes: Healthy | None = None
    stops: list[Stop] = field(default_factory=list)


def ratio(these: Sequence[float], ours: Sequence[float]) -> float:
    """The median of the ratios of the same turns."""
    return statistics.median(this / our for this, our in zip(these, ours, strict=True))


def tables(found: Mapping[str, Found]) -> Iterator[str]:
    """One table of speed and memory, one of slow clients, one of probes and stops."""
    yield speed(found)
    yield slow(found)
    yield stops(found)


def speed(found: Mapping[str, Found]) -> str:
    """Rates, p99, processor time of a request and memory, each with its ratio to ours."""
    lines = [
        "| server | one loan, requests/s | p99, ms | processor, ms | 1,000 loans, requests/s | p99, ms | processor, ms | MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    ours = found[OURS]
    for name, these in found.items():
        cells = [name]
        for rows in (1, 1000):
            seen, base = these.rounds[rows], ours.rounds[rows]
            digits = 0 if rows == 1 else 1
            cells.append(_cell([r.rate for r in seen], [r.rate for r in base], 1.0, digits))
            cells.append(_cell([r.percentile(0.99) for r in seen], [r.percentile(0.99) for r in base], 1e3, 1))
            cells.append(_cell(these.processor[rows], ours.processor[rows], 1e3, 2))
        cells.append(_cell([these.megabytes], [ours.megabytes], 1.0, 0))
        lines.append(_row(cells))
    return "\n".join(lines)


def slow(found: Mapping[str, Found]) -> str:
    """Healthy requests answered in time, and their p99, while clients of each kind are slow."""
    kinds = list(found[OURS].slow)
    lines = [_row(["answered within 2 s, p99", *kinds]), "|---" * (len(kinds) + 1) + "|"]
    for name, these in found.items():
        cells = (f"{_healthy(these.slow[kind])} ({these.slow[kind].megabytes:.0f} MB)" for kind in kinds)
        lines.append(_row([name, *cells]))
    return "\n".join(lines)


def stops(found: Mapping[str, Found]) -> str:
    """Probes under load; requests without an answer and the seconds of each stop; what the application would lack."""
    lines = [
        "| server | probes under load | requests that a stop did not answer | seconds to the end | without |",
        "|---|---|---|---|---|",
    ]
    without = {server.name: server.without for server in SERVERS}
    for name, these in found.items():
        failed = " + ".join(str(len(stop.failed)) for stop in these.stops)
        took = ", ".join("killed" if stop.seconds is None else f"{stop.seconds:.1f}" for stop in these.stops)
        answered = sum(stop.answered for stop in these.stops)
        probes = "" if these.probes is None else _healthy(these.probes)
        lines.append(_row([name, probes, f"{failed} ({answered} answered)", took, without.get(name, "")]))
    return "\n".join(lines)


def _healthy(healthy: Healthy) -> str:
    p99 = "" if healthy.p99 is None else f", {healthy.p99 * 1e3:.0f} ms"
    return f"{healthy.share:.0%}{p99}"


def _cell(these: Sequence[float], ours: Sequence[float], unit: float, digits: int) -> str:
    return f"{statistics.median(these) * unit:,.{digits}f} ({ratio(these, ours):.2f} ×)"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
