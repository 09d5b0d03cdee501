"""Does evidence keep its promise, and how long does it take? ``make evidence``.

The champion and a gradient boosting are fitted on the older two thirds of the loans, by position, and score the newest third.
From these loans, drawn with replacement, come streams of outcomes:

- without a difference: each loan's two probabilities change places by the throw of a coin, so that neither model is better;
- with the difference that there is.

Beside the evidence stands a fixed test, one-sided at 5 %, with the number of outcomes at which it finds the same difference with
power 0.8; and what happens to that test if it is looked at after every outcome.
"""

from __future__ import annotations

import argparse
import platform
import warnings
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from late_payers import data, recipe
from modelbundle.evidence import BOUND, SHARES, TARGET, log_loss_differences

Floats = NDArray[np.float64]
STREAMS, ROWS, LONGEST = 1000, 20_000, 400_000
LEAST = 200  # outcomes before which a repeated test is not believed
SIGNIFICANT, POWER = 1.6448536269514722, 0.8416212335729143  # quantiles of the normal distribution at 95 % and 80 %


def differences(directory: Path) -> tuple[Floats, str]:
    """How much lower the log loss of gradient boosting is than the champion's, per loan, shape (n,); and which loans."""
    book = data.load(directory, say=lambda _: None)
    features, labels = recipe.split(book.training)
    cut = 2 * len(labels) // 3
    champion = recipe.fit(features[:cut], labels[:cut])
    frame = features.copy()
    for name in frame.select_dtypes(exclude="number"):
        frame[name] = frame[name].astype("category")
    boosting = HistGradientBoostingClassifier(random_state=0, categorical_features="from_dtype")
    boosting.fit(frame[:cut], labels[:cut])
    first = champion.predict_proba(features[cut:])[:, 1]
    second = boosting.predict_proba(frame[cut:])[:, 1]
    return log_loss_differences(
        labels[cut:], first, second
    ), f"{book.description}, the newest {len(labels) - cut:,} loans"


def reached(rows: Floats) -> tuple[int | None, bool]:
    """After how many of the rows (n,) the evidence for a positive mean reaches the target; and whether a test that is repeated
    after every outcome is significant at some time."""
    wealth = np.logaddexp.reduce([np.cumsum(np.log1p(share * rows / BOUND)) for share in SHARES]) - np.log(len(SHARES))
    count = np.arange(1, len(rows) + 1)
    mean = np.cumsum(rows) / count
    spread = np.sqrt(np.maximum(np.cumsum(rows * rows) / count - mean * mean, 1e-300) / count)
    repeated = bool((mean / spread >= SIGNIFICANT)[LEAST:].any())
    above = np.flatnonzero(wealth >= np.log(TARGET))
    return (int(above[0]) + 1 if len(above) else None), repeated


def main() -> int:
    """Print the figures."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.learning.evidence", description=__doc__)
    options.add_argument(
        "--data", type=Path, default=Path("data"), help="where the loans are; without them, the stand-in"
    )
    options.add_argument("--streams", type=int, default=STREAMS)
    given = options.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found, what = differences(given.data)
    rng = np.random.default_rng(0)
    print(f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, scikit-learn {sklearn.__version__}")
    print(what)
    false = repeated = 0
    for _ in range(given.streams):
        rows = rng.choice(found, ROWS) * rng.choice([-1.0, 1.0], ROWS)
        after, significant = reached(rows)
        false += after is not None
        repeated += significant
    print(f"no difference, {given.streams:,} streams of {ROWS:,} outcomes, looked at after each:")
    print(f"  evidence of {TARGET:g} at some time: {false / given.streams:.1%}")
    print(f"  a test at 5 % significant at some time: {repeated / given.streams:.1%}")
    better = "gradient boosting" if found.mean() > 0 else "the champion"
    rows = found if found.mean() > 0 else -found
    fixed = (SIGNIFICANT + POWER) ** 2 * rows.var() / rows.mean() ** 2
    times = [reached(rng.choice(rows, LONGEST))[0] or LONGEST + 1 for _ in range(max(given.streams // 10, 1))]
    print(
        f"the difference that there is: {better} has a log loss lower by {rows.mean():.6f} (deviation {rows.std():.4f})"
    )
    print(f"  a fixed test at 5 % with power 0.8 needs {fixed:,.0f} outcomes")
    print(
        f"  evidence of {TARGET:g} after {np.median(times):,.0f} outcomes (median of {len(times)} streams; 80 % by"
        f" {np.quantile(times, 0.8):,.0f}): {np.median(times) / fixed:.2f} ×"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
