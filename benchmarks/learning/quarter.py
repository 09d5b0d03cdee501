"""What recalibration does on real loans: ``make quarter DATA=directory``.

The loans stand in the order of their age, the newest first: the share of late loans falls towards the beginning, where they have
had less time to be late. The champion's recipe is fitted on the older two thirds and answers the newest third through the API,
the oldest of it first. Outcomes of every other loan are reported; the model is recalibrated on them, and judged on the others.
50 random halves, without the API, say how much of that is chance.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.serving import free_port
from late_payers import data, recipe
from learning.outcomes import FITTED, likelihood
from learning.recalibrate import fit
from modelbundle import statistics
from modelbundle.author import Author
from modelbundle.format import bundle
from modelbundle.model import Model
from modelbundle.publishing.publish import publish
from modelbundle.scorers.probability import expit_array

ROOT = Path(__file__).parents[2]
PARENT, CHILD = "fitted.bundle", "recalibrated.bundle"
CHUNK = 20_000  # loans in a request
PATIENCE, ATTEMPTS = 60.0, 30
DRAWS = 50


@contextmanager
def running(root: Path) -> Iterator[str]:
    """``make run`` in a directory; its address."""
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PORT": str(port), "MONITOR_SECONDS": "3600"}
    command = [sys.executable, "-m", "services.deployment.local"]
    process = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL)
    try:
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE
        while True:
            try:
                urllib.request.urlopen(f"{url}/readyz", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def post(url: str, frame: pd.DataFrame) -> list[dict[str, str]]:
    """Send rows as CSV, again where the answer is 503; the rows of the answers."""
    found: list[dict[str, str]] = []
    for start in range(0, len(frame), CHUNK):
        body = frame.iloc[start : start + CHUNK].to_csv(index=False).encode()
        asked = urllib.request.Request(url, body, {"Content-Type": "text/csv"})
        for left in reversed(range(ATTEMPTS)):
            try:
                with urllib.request.urlopen(asked, timeout=120) as answer:
                    found += csv.DictReader(io.StringIO(answer.read().decode(), newline=""))
                break
            except urllib.error.HTTPError as error:
                if error.code != 503 or not left:
                    raise
                time.sleep(int(error.headers.get("Retry-After", 1)))
    return found


def report(url: str, outcomes: pd.DataFrame) -> None:
    """Send outcomes, again while some predictions are still on their way to the log."""
    for _ in range(ATTEMPTS):
        if {row["status"] for row in post(url, outcomes)} <= {"recorded", "repeated"}:
            return
        time.sleep(2)
    raise RuntimeError("not all outcomes were recorded")


def command(root: Path, *arguments: str) -> str:
    """Run a command of the project in the directory; what it printed, also where it refused."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=root, env=environment, capture_output=True, text=True)
    return done.stdout + done.stderr


def judged(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> str:
    """Predicted to observed, log loss and Cox's slope, in words."""
    odds = statistics.log_odds(probabilities)
    loss = float(np.logaddexp(0.0, np.where(labels == 1, -odds, odds)).mean())
    ratio, line = (
        statistics.predicted_to_observed(labels, probabilities),
        statistics.calibration_line(labels, probabilities),
    )
    assert line is not None
    slope = line[1]
    words = f"predicted to observed {ratio.value:.3f}, log loss {loss:.6f}"
    return f"{words}, slope {slope.value:.3f} ({slope.low:.3f} to {slope.high:.3f})"


def residual(model: Model, rows: list[dict[str, Any]]) -> float:
    """The largest difference between the contributions with the baseline, added up, and the log-odds."""
    most = 0.0
    for row in rows:
        answer: Any = model.answer(model.validator.record(row).row, True)
        added = answer.baseline + sum(answer.contributions.values())
        most = max(most, abs(added - float(np.log(answer.predict_proba[1] / answer.predict_proba[0]))))
    return most


def tried(fitted: Any, older: tuple[Any, Any], frame: pd.DataFrame, labels: NDArray[np.int64]) -> None:
    """Log the loans in this order, report every second, recalibrate, and judge on the others."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "models").mkdir()
        publish(
            fitted, *older, root / "models" / PARENT, author=Author("fitted", "Fitted on the older two thirds", "late")
        )
        sent = frame.assign(id=[f"loan-{k}" for k in range(len(frame))])
        with running(root) as url:
            before = np.array([float(row["probability"]) for row in post(f"{url}/predict", sent)])
            reported = np.arange(len(frame)) % 2 == 0
            outcomes = pd.DataFrame({"id": sent["id"], "outcome": labels})[reported].rename(
                columns={"outcome": "is_late"}
            )
            report(f"{url}/outcomes", outcomes)
            print(f"  {len(frame):,} loans logged through the API, {len(outcomes):,} outcomes recorded")
        command(root, "learning", "dataset", "logged.parquet")
        said = command(
            root, "learning", "recalibrate", "logged.parquet", f"models/{CHILD}", "--model", f"models/{PARENT}"
        )
        print("  " + said.strip().replace("\n", "\n  "))
        print(f"  on the other half, before: {judged(labels[~reported], before[~reported])}")
        if not (root / "models" / CHILD).exists():
            return
        model = bundle.read(root / "models" / CHILD)
        columns = [
            np.array(frame[f.name], dtype=np.float64)
            if f.kind == "number"
            else frame[f.name].where(frame[f.name].notna(), None).tolist()
            for f in model.schema
        ]
        after = np.asarray(model.last_class(columns))
        print(f"  on the other half, after:  {judged(labels[~reported], after[~reported])}")
        rows = json.loads(frame.head(2000).to_json(orient="records"))
        print(f"  contributions and baseline add up to the log-odds within {residual(model, rows):.1e} (2,000 loans)")
        print("  " + command(root, "comparison", f"models/{CHILD}").strip().replace("\n", "\n  "))


def drawn(probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> None:
    """The same on other random halves: how often it is refused, and what comes of the others."""
    found = []
    for seed in range(DRAWS):
        order = np.random.default_rng(seed).permutation(len(labels))
        odds, known = statistics.log_odds(probabilities[order]), labels[order]
        reported, (others, unseen) = (odds[::2], known[::2]), (odds[1::2], known[1::2])
        split = int(FITTED * len(reported[0]))
        line = fit(reported[1][:split], reported[0][:split], slope=True)
        moved = [line.factor * part + line.shift for part in (reported[0][split:], others)]
        if likelihood(reported[1][split:], moved[0]) <= likelihood(reported[1][split:], reported[0][split:]):
            continue
        after = expit_array(moved[1])
        slope = statistics.calibration_line(unseen, after)
        assert slope is not None
        ratio = statistics.predicted_to_observed(unseen, after).value
        better = likelihood(unseen, moved[1]) > likelihood(unseen, others)
        found.append((ratio, 0.9 <= ratio <= 1.1, better, slope[1].low <= 1 <= slope[1].high))
    ratios, within, better, straight = np.array(found, dtype=float).T
    low, middle, high = np.quantile(ratios, [0.1, 0.5, 0.9])
    print(
        f"\n{DRAWS} random halves: refused on the newer outcomes in {DRAWS - len(found)}; of the others, on the other half:"
    )
    print(
        f"  predicted to observed {middle:.3f} (8 of 10: {low:.3f} to {high:.3f}), within 0.9 to 1.1 in {within.mean():.0%}"
    )
    print(f"  log loss lower in {better.mean():.0%}, slope within its interval of 1 in {straight.mean():.0%}")


def main() -> int:
    """Print the figures; 2 where there are no real loans."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning.quarter", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data"))
    book = data.load(parser.parse_args().data)
    features, labels = recipe.split(book.training)
    third = len(labels) // 3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        older = (features[third:], labels[third:])
        fitted = recipe.slim(recipe.fit(*older))
        aged = np.arange(third)[::-1]
        tried(fitted, older, features.iloc[aged], labels[aged])
        drawn(fitted.predict_proba(features[:third])[:, 1], labels[:third])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
