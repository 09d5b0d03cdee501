"""``python -m comparison BUNDLE [--with BUNDLE] [--days N | --in BOOK] [--out PAGE.html] [--json FILE]``.

Both models score the same rows: those of the prediction log, with their outcomes, or a book's (CSV, Parquet, a directory, s3://).
Without ``--with``, the other model is the one that the pin of ``make run`` names, or else the one that ships. The log is
``PREDICTION_LOG_URL``, or the SQLite file of ``DATA_DIR`` (run/data). Exit codes: 0 compared; 1 not; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from comparison import page
from comparison.compare import Comparison
from comparison.rows import Batch, NoRows, book, logged
from modelbundle.durable import write
from modelbundle.errors import BundleError
from modelbundle.format import bundle
from modelbundle.model import Model
from portfolio.errors import PortfolioError
from services.monitoring.__main__ import days
from services.places import log_url
from services.predict.settings import NO_LOG

SHIPPED = Path("models/late-payers.bundle")


class ComparisonError(Exception):
    """The models cannot be compared; the message is one line."""


def load(path: Path) -> Model:
    """A model from its file; raises :class:`ComparisonError`."""
    try:
        return bundle.read(path)
    except OSError as error:
        raise ComparisonError(f"{path}: {error.strerror}") from None
    except BundleError as error:
        raise ComparisonError(f"{path}: {error}") from None


def pinned() -> Path:
    """The file of the model that ``make run`` serves, else the one that ships."""
    try:
        return Path("models", json.loads(Path("run/pin.json").read_bytes())["file"])
    except (OSError, ValueError, KeyError, TypeError):
        return SHIPPED


def rows(options: argparse.Namespace, before: Model, after: Model) -> tuple[str, Iterator[Batch]]:
    """What the rows are called, and the rows."""
    if options.book:
        return options.book, book(options.book, before.schema)
    url = log_url()
    if url == NO_LOG:
        raise NoRows("nothing is logged here (PREDICTION_LOG_URL is none): name a book with --in (IN=path)")
    if url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists():
        raise NoRows("nothing has been logged here yet: name a book with --in (IN=path)")
    features = {f.name: f for model in (after, before) for f in model.schema}
    return f"the prediction log, last {options.days} days", logged(
        url, options.days, list(features.values()), before.manifest.outcome
    )


def compared(options: argparse.Namespace) -> dict[str, Any]:
    """The comparison as JSON; raises :class:`ComparisonError`."""
    before, after = load(options.other or pinned()), load(options.bundle)
    comparison = Comparison(before, after)
    try:
        source, batches = rows(options, before, after)
        for batch in batches:
            comparison.add(batch)
    except (NoRows, PortfolioError) as error:
        raise ComparisonError(str(error)) from None
    except (sa.exc.SQLAlchemyError, sa.exc.ArgumentError) as error:
        # never its text: it may hold rows, or a password
        name = type(getattr(error, "orig", None) or error).__name__
        raise ComparisonError(f"the log cannot be read ({name})") from None
    if not comparison.read:
        raise ComparisonError(f"{source}: there are no rows")
    return {"source": source, **comparison.result()}


def lines(content: dict[str, Any]) -> list[str]:
    """The three lines that ``make deploy`` prints too, about more rows."""
    found = [f"{content['refused']:,} of {content['accepted']:,} rows would be refused"]
    if "mean" in content:
        before, after = content["mean"]
        found.append(f"mean probability {after:.4g}, before {before:.4g}")
    if content.get("other_band") is not None:
        found.append(f"{content['other_band']:.2%} of the rows are in another band")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m comparison", description=__doc__)
    parser.add_argument("bundle", type=Path, help="the new model")
    parser.add_argument("--with", dest="other", type=Path, help="the model that it is compared with")
    parser.add_argument("--days", type=days, default=7, help="the days of the prediction log (7)")
    parser.add_argument("--in", dest="book", help="a book instead of the log: CSV, Parquet, a directory, s3://")
    parser.add_argument("--out", type=Path, default=Path("run/comparison.html"), help="where the page goes")
    parser.add_argument("--json", type=Path, help="where the same goes as JSON; - prints it")
    options = parser.parse_args(arguments)
    try:
        content = compared(options)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write(options.out, page.html(content).encode())
        if options.json and str(options.json) != "-":
            write(options.json, json.dumps(content).encode())
    except ComparisonError as error:
        print(f"compare: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"compare: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    if str(options.json) == "-":
        print(json.dumps(content))
    else:
        print("\n".join([*lines(content), f"See {options.out}"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
