"""``make fairness-example``: figures by group on simulated loans. The groups are made up: they stand for nobody."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from fairness.__main__ import SHIPPED, main
from late_payers import simulation

ROWS, MOST, SEED = 20_000, 200_000, 12
RENTERS, OTHERS = (0.55, 0.433, 0.003), (0.3, 0.683, 0.003)  # shares of the groups north, south and islands


def rows(text: str) -> int:
    """A number of loans."""
    number = int(text)
    if not 1000 <= number <= MOST:
        raise argparse.ArgumentTypeError(f"must be from 1000 to {MOST}")
    return number


def write(folder: Path, count: int) -> tuple[Path, Path]:
    """Write a book of loans with ids and outcomes, and the file of groups; some loans have no group.

    Home ownership goes with the group, as a feature can in life: so the groups are refused at different rates although the
    model does not know them.
    """
    book = simulation.simulate(count, SEED)
    book.insert(0, "id", [f"loan-{number}" for number in range(count)])
    rng = np.random.default_rng(SEED)
    shares = np.where((book["home_ownership"] == "RENT").to_numpy()[:, None], RENTERS, OTHERS).cumsum(axis=1)
    place = (rng.random(count)[:, None] >= shares).sum(axis=1)
    region = np.array(["north", "south", "islands", ""])[place]
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / "book.csv", folder / "groups.csv"
    book.to_csv(paths[0], index=False)
    pd.DataFrame({"id": book["id"], "region": region}).to_csv(paths[1], index=False)
    return paths


def run(arguments: list[str] | None = None) -> int:
    """Write the files and measure; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fairness.example", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("run/fairness-example"))
    parser.add_argument("--rows", type=rows, default=ROWS)
    parser.add_argument("--model", type=Path, default=SHIPPED)
    options = parser.parse_args(arguments)
    book, groups = write(options.out, options.rows)
    asked = ["--in", str(book), "--reference", "south", "--refuse", "high", "--model", str(options.model)]
    return main(["measure", str(groups), *asked, "--out", str(options.out / "fairness.html")])


if __name__ == "__main__":
    sys.exit(run())
