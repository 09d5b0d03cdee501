"""``python -m learning dataset | recalibrate | retrain``: from the prediction log and its outcomes to a better model.

The log is ``PREDICTION_LOG_URL``, or the SQLite file of ``DATA_DIR`` (run/data). Exit codes: 0 written; 1 not, and why; 2 wrong
usage.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from learning import recipes
from learning.dataset import DatasetError, Query, write
from learning.outcomes import Judgement, OutcomesError
from learning.recalibrate import recalibrate
from learning.retrain import retrain
from modelbundle.errors import BundleError
from services.places import log_url
from services.predict.settings import NO_LOG

RECIPE = "late_payers.champion:retrain"


def moment(text: str) -> str:
    """A date or time as the log writes it: ISO 8601 in UTC, to the microsecond."""
    found = datetime.fromisoformat(text)
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return found.isoformat(timespec="microseconds")


def dataset(options: argparse.Namespace) -> int:
    """Write the dataset and say what is in it."""
    url = log_url()
    if url == NO_LOG or (url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists()):
        raise DatasetError("nothing has been logged here yet")
    until = options.until or datetime.now(UTC).isoformat(timespec="microseconds")
    made = write(url, options.out, Query(until, options.since or "", options.last, options.window, options.outcome))
    positive = "" if made.positive is None else f", {made.positive:,} of these positive"
    print(f"{options.out}: {made.rows:,} rows, {made.known:,} with an outcome{positive}")
    print(f"  fingerprint {made.fingerprint}")
    return 0


def recalibrated(options: argparse.Namespace) -> int:
    """Recalibrate and say how both did on the newer outcomes."""
    made = recalibrate(options.model, options.dataset, options.out, key=options.key)
    slope = "intercept and slope" if made.line.factor != 1.0 else "intercept"
    print(f"{made.path}: {slope} fitted on {made.lineage['rows']['fitted']:,} older outcomes")
    print(f"  log-odds * {made.line.factor:.4g} {made.line.shift:+.4g}")
    print(
        f"  on the {made.lineage['rows']['judged']:,} newer outcomes: {said(made.after)}; before: {said(made.before)}"
    )
    print(f"  sha256 {made.sha256}\n  compare it with: make compare BUNDLE={made.path}")
    return 0


def retrained(options: argparse.Namespace) -> int:
    """Retrain and say how both models did on the newer outcomes."""
    recipe = recipes.load(options.recipe)
    made = retrain(recipe, options.model, options.dataset, options.out, original=options.original, key=options.key)
    rows = made.lineage["rows"]
    print(f"{made.path}: {recipe.name} on {rows['original']:,} original rows and {rows['logged']:,} older outcomes")
    print(f"  on the {rows['judged']:,} newer outcomes: {said(made.after)}, {area(made.after)}")
    print(f"  the parent there: {said(made.before)}, {area(made.before)}")
    gain, low, high = made.lineage["gain"]
    print(f"  log loss lower by {gain:.5f} ({low:.5f} to {high:.5f}){'' if low > 0 else ', which may be chance'}")
    print(f"  sha256 {made.sha256}\n  compare it with: make compare BUNDLE={made.path}")
    return 0


def area(found: Judgement) -> str:
    """How well it ranks, in words."""
    value, low, high = found.roc_auc
    return f"ROC-AUC {value:.4f} ({low:.4f} to {high:.4f})"


def said(found: Judgement) -> str:
    """A judgement in words."""
    words = f"predicted to observed {found.predicted_to_observed:.3f}, log loss {found.log_loss:.5f}"
    if found.slope is None:
        return words
    value, low, high = found.slope
    return f"{words}, slope {value:.2f} ({low:.2f} to {high:.2f})"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    commands = argparse.ArgumentParser(prog="python -m learning", description=__doc__)
    actions = commands.add_subparsers(required=True)
    one = actions.add_parser("dataset", help="logged predictions with their outcomes, as Parquet")
    one.add_argument("out", type=Path)
    one.add_argument("--since", type=moment, help="the first day or time")
    one.add_argument("--until", type=moment, help="the day or time before which (now)")
    one.add_argument("--last", action="store_true", help="only the last prediction of each caller's id")
    one.add_argument("--window", type=float, metavar="DAYS", help="a row without an outcome after so long is negative")
    one.add_argument("--outcome", metavar="NAME", help="the outcome, where the log has several")
    one.set_defaults(run=dataset)
    one = actions.add_parser("recalibrate", help="the same model, expecting as many as come")
    one.add_argument("dataset", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("--model", type=Path, default=Path("models/late-payers.bundle"))
    one.add_argument("--key", type=Path, help="the private key that signs the bundle")
    one.set_defaults(run=recalibrated)
    one = actions.add_parser("retrain", help="a recipe on the original rows and the logged ones")
    one.add_argument("dataset", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("--recipe", default=RECIPE, metavar="MODULE:CALLABLE", help="how it is fitted (%(default)s)")
    one.add_argument("--original", type=Path, help="the original rows (none)")
    one.add_argument("--model", type=Path, default=Path("models/late-payers.bundle"), help="the parent")
    one.add_argument("--key", type=Path, help="the private key that signs the bundle")
    one.set_defaults(run=retrained)
    return commands


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (DatasetError, OutcomesError, BundleError, OSError) as error:
        print(f"{options.run.__name__}: {error}", file=sys.stderr)
    except (sa.exc.SQLAlchemyError, sa.exc.ArgumentError) as error:  # never its text: it may hold rows, or a password
        name = type(getattr(error, "orig", None) or error).__name__
        print(f"{options.run.__name__}: the log cannot be read ({name})", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
