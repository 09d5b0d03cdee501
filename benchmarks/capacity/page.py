"""The figures of ``docs/capacity.md``, which its calculator and its tables take from the results of other commands."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

RESULTS = Path("benchmarks/results.json")
PORTFOLIO = Path("benchmarks/portfolio.json")
PROXY = Path("deploy/haproxy/haproxy.cfg")
PAGE = Path("docs/capacity.md")
BEGIN, END = "<!-- figures -->", "<!-- /figures -->"
ARROW = "thousand_loans_arrow"
BOOKS = {
    "csv_to_parquet": "CSV to Parquet, with reasons",
    "parquet_to_parquet": "Parquet to Parquet, with reasons",
    "csv_to_csv": "CSV to CSV, with reasons",
}


def figures(results: dict[str, Any], portfolio: dict[str, Any], replicas: int) -> dict[str, Any]:
    """What the calculator's formulae use: milliseconds of processor time, cores, megabytes (10^6 bytes), bytes, seconds.

    ``replicas`` is how many a proxy has places for. Raises :class:`KeyError` where ``results`` has no member ``capacity``.
    """
    found = results["capacity"]
    batch, table = found["thousand_loans"], found[ARROW]
    proxy = found["proxy"]
    numbers = {
        "one_loan_ms": found["one_loan"]["answering_milliseconds"],
        "json_row_ms": batch["answering_milliseconds"] / batch["rows"],
        "arrow_row_ms": table["answering_milliseconds"] / table["rows"],
        "log_row_ms": statistics.mean(kind["shipping_milliseconds"] / kind["rows"] for kind in (batch, table)),
        "proxy_request_ms": proxy["processor_milliseconds"]["one_loan"],
        "proxy_row_ms": proxy["processor_milliseconds"]["thousand_loans"] / batch["rows"],
        "replica_idle_cores": found["idle"]["replica_cores"],
        "model_idle_cores": found["idle"]["model_service_cores"],
        "replica_mb": results["replica"]["megabytes"],
        "replica_batch_mb": found["megabytes"],
        "proxy_mb": proxy["megabytes"],
        "model_mb": found["model_service_megabytes"],
    }
    books = {
        name: {
            "label": label,
            "core_seconds_per_row": digits(portfolio["kinds"][name]["processor_microseconds_per_row"]["own"] / 1e6),
            "megabytes": portfolio["kinds"][name]["peak_megabytes"],
        }
        for name, label in BOOKS.items()
    }
    return {
        **{name: digits(value) for name, value in numbers.items()},
        "log_bytes_per_row": round(found["log"]["bytes_per_row"]),
        "replicas_of_a_proxy": replicas,
        "books": books,
    }


def places(configuration: str) -> int:
    """The number of replicas that the proxy's configuration has places for. Raises :class:`ValueError` without one."""
    match = re.search(r"server-template \w+ 1-(\d+) ", configuration)
    if match is None:
        raise ValueError("the proxy's configuration has no server-template")
    return int(match[1])


def digits(value: float, count: int = 3) -> float:
    """``value`` with as many digits as a measurement is worth."""
    return float(f"{value:.{count}g}")


def render(text: str, results: dict[str, Any], portfolio: dict[str, Any], replicas: int) -> str:
    """The page ``text`` with these figures. Raises :class:`ValueError` if it has no place for them."""
    before, begun, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (begun and ended):
        raise ValueError(f"{PAGE} has no {BEGIN} … {END}")
    shown = figures(results, portfolio, replicas)
    data = json.dumps(shown, indent=1)
    script = f'<script type="application/json" id="capacity-figures">\n{data}\n</script>'
    return "\n\n".join([before + BEGIN, services(results, shown), books(portfolio, shown), script, END + after])


def services(results: dict[str, Any], shown: dict[str, Any]) -> str:
    """What was measured of the services, as a sentence and a table."""
    found, versions = results["capacity"], results["versions"]
    proxy = found["proxy"]["processor_milliseconds"]
    kinds = [("one loan per request", "one_loan"), ("a thousand per request, JSON", "thousand_loans")]
    kinds.append(("a thousand per request, Arrow", ARROW))
    rows = [
        (
            f"processor time, {label}",
            f"{found[name]['answering_milliseconds']:.3g} ms",
            f"{proxy[name]:.2g} ms",
            "0",
        )
        for label, name in kinds
    ]
    rows += [
        ("processor time, a thousand rows into the log", f"{1000 * shown['log_row_ms']:.3g} ms", "", ""),
        ("cores while idle", f"{shown['replica_idle_cores']:.2g}", "", f"{shown['model_idle_cores']:.2g}"),
        ("memory, one loan per request", f"{shown['replica_mb']:.0f} MB", "", f"{shown['model_mb']:.0f} MB"),
        ("memory, a thousand per request", f"{shown['replica_batch_mb']:.0f} MB", f"{shown['proxy_mb']:.0f} MB", ""),
        ("ready after", f"{results['replica']['seconds_to_ready']:.2g} s", "", ""),
        ("a row in the log, SQLite with indexes", f"{shown['log_bytes_per_row']:,} bytes", "", ""),
    ]
    times = (shown["one_loan_ms"] + shown["log_row_ms"]) / (shown["json_row_ms"] + shown["log_row_ms"])
    features = results["in_process_microseconds_per_row"]["growth"]["features"]
    each = (features["160"][0] - features["10"][0]) / 150
    return "\n".join(
        [
            f"`make capacity MEASURE=1` on {found['date'][:10]}, {found['cores']} processors shared with other work, Python "
            f"{results['python']}, gunicorn {versions['gunicorn']}, Flask {versions['flask']}: the model that ships, a "
            "replica of two workers, everything on, the log in SQLite.",
            "",
            "| | prediction API | proxy | model service |",
            "|---|---|---|---|",
            *(f"| {' | '.join(row)} |" for row in rows),
            "",
            f"- A row in a request of a thousand (JSON) takes {times:.0f} times less processor time than a loan alone, logged.",
            f"- A feature of an additive model takes {each:.2g} µs for one loan, scored in the process.",
        ]
    )


def books(portfolio: dict[str, Any], shown: dict[str, Any]) -> str:
    """What was measured of whole books, as a sentence and a table."""
    lines = [
        f"`make score-10m` on {portfolio['date'][:10]}, {portfolio['rows']:,} rows, {portfolio['cores']} processors:",
        "",
        "| a book | rows/s | rows/s per core | peak memory |",
        "|---|---|---|---|",
    ]
    for name, book in shown["books"].items():
        rate = portfolio["kinds"][name]["rows_per_second"]
        lines.append(
            f"| {book['label']} | {rate:,} | {1 / book['core_seconds_per_row']:,.0f} | {book['megabytes']} MB |"
        )
    return "\n".join(lines)


def write() -> None:
    """Bring the page up to date with the results, where it is not."""
    results, portfolio = (json.loads(path.read_text("utf-8")) for path in (RESULTS, PORTFOLIO))
    text = PAGE.read_text("utf-8")
    made = render(text, results, portfolio, places(PROXY.read_text("utf-8")))
    if made != text:
        PAGE.write_text(made, "utf-8")
