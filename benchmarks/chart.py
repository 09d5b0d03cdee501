"""The throughput chart of docs/benchmarks.md, as SVG without a library: a bar for each subject."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

LABELS = {
    "ours": "PeerLoan, everything on",
    "unlogged": "without the prediction log",
    "arrow": "PeerLoan, everything on, as Arrow",
    "arrow unlogged": "as Arrow, without the prediction log",
    "naive arrow": "Flask + pandas, as Arrow",
    "csv": "PeerLoan, everything on, as CSV",
    "csv unlogged": "as CSV, without the prediction log",
    "naive csv": "Flask + pandas, as CSV",
    "empty": "an empty Flask view",
    "fastapi": "FastAPI + pandas",
    "naive": "Flask + pandas",
    "prototype": "the prototype",
}
WIDTH, ROW, LEFT = 720, 40, 200


def draw(single: dict[str, Any], date: str, path: Path) -> None:
    """Write one bar per subject, by requests per second."""
    rates = {name: facts["requests_per_second"] for name, facts in single.items()}
    scale = (WIDTH - LEFT - 90) / max(rates.values())
    title = "One loan per request, 8 connections, 2 workers: requests per second"
    parts = [f'<text x="10" y="24" font-weight="600">{escape(title)}</text>']
    for row, (name, rate) in enumerate(sorted(rates.items(), key=lambda item: -item[1])):
        y = 44 + row * ROW
        colour = "#1f6f5c" if name in ("ours", "unlogged") else "#8a94a0"
        parts.append(f'<text x="{LEFT - 10}" y="{y + 18}" text-anchor="end">{escape(LABELS[name])}</text>')
        parts.append(
            f'<rect x="{LEFT}" y="{y}" width="{max(rate * scale, 1):.1f}" height="26" rx="3" fill="{colour}"/>'
        )
        parts.append(f'<text x="{LEFT + rate * scale + 8:.1f}" y="{y + 18}">{rate:,.0f}</text>')
    height = 44 + len(rates) * ROW + 24
    parts.append(f'<text x="10" y="{height - 8}" font-size="11" fill="#667">make bench, {escape(date)}</text>')
    style = 'font-family="system-ui, sans-serif" font-size="14" fill="#222"'
    background = f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}" '
        f"{style}>{background}{''.join(parts)}</svg>\n",
        encoding="utf-8",
    )
