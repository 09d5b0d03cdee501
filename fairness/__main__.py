"""``python -m fairness measure GROUPS --reference GROUP --refuse BAND``: a model's figures by group, as a page and as JSON.

GROUPS (CSV or Parquet) has an id and a group per row. The rows are those of a book (``--in``), scored as ``make score`` does, or
what the model answered in the last days by the prediction log: ``PREDICTION_LOG_URL``, or the SQLite file of ``DATA_DIR``
(run/data). ``python -m fairness card RESULT OUT`` writes the model with these figures on its card. Exit codes: 0 done; 1 not;
2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import sqlalchemy as sa

from fairness import card, groups, page, rows
from fairness.errors import FairnessError, shown
from fairness.rows import Judged
from modelbundle.durable import write
from modelbundle.errors import BundleError
from modelbundle.fairness import FIGURES, Fairness, said
from modelbundle.format import bundle
from modelbundle.model import Model
from modelbundle.schema import RARE
from portfolio.errors import PortfolioError
from services.monitoring.__main__ import days
from services.places import log_url
from services.predict.settings import NO_LOG

SHIPPED = Path("models/late-payers.bundle")
LEAST = 100


def judged(options: argparse.Namespace, model: Model) -> Judged:
    """The rows of the book or of the log."""
    if options.book:
        return rows.book(options.book, model, options.model, options.id, options.label)
    if options.id not in ("id", "prediction_id"):
        raise FairnessError("the log knows only id, the callers' own, and prediction_id: name the column so (--id)")
    url = log_url()
    if url == NO_LOG or (url.startswith("sqlite:///") and not Path(url.removeprefix("sqlite:///")).exists()):
        raise FairnessError("nothing has been logged here yet: name a book with --in (IN=path)")
    return rows.logged(url, options.days, model, options.id, options.caller)


def measured(options: argparse.Namespace) -> int:
    """Measure, write the page and the JSON, and say the figures."""
    from fairness.figures import Decision, measure  # fairlearn takes seconds

    model = bundle.read(options.model)
    decision = Decision.of(options.refuse, options.below, model)
    found = groups.read(options.groups, options.column, options.id, model.schema, model.manifest.outcome.name)
    options_of_measure = {"least": options.least, "others": options.others}
    result = measure(judged(options, model), found, model, decision, options.reference, **options_of_measure)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(result.to_json(), indent=1, ensure_ascii=False)
    write(options.out.with_suffix(".json"), content.encode())
    write(options.out, page.html(result, model).encode())
    told = options.out.with_suffix(".json")
    print(
        "\n".join([*lines(result), f"See {options.out}. For the model's card: make fairness-card RESULT={told} OUT=…"])
    )
    return 0


def lines(result: Fairness) -> list[str]:
    """The figures as text."""
    text = [f"{result.source}, by {shown(result.column)}. {result.decision}"]
    for group in result.groups:
        name = "no group known" if group.name is None else shown(group.name)
        text.append(f"  {name}: {group.rows:,} rows, {group.outcomes:,} with an outcome")
        for key, value in group.figures.items():
            number, interval = said(key, value)
            text.append(f"    {FIGURES[key][0]} {number}{f' ({interval})' if interval else ''}")
        text += [f"    {note}" for note in group.notes]
        text += [f"    {group.unanswered:,} more rows were not accepted by the model"] if group.unanswered else []
    return [*text, *(f"  {note}" for note in result.notes)]


def carded(options: argparse.Namespace) -> int:
    """Write the model with the figures."""
    sha256 = card.write(options.result, options.out, options.model, key=options.key)
    print(f"{options.out}: the same model with figures by group on its card\n  sha256 {sha256}")
    print(f"  deploy it with: make deploy BUNDLE={options.out}")
    return 0


def least(text: str) -> int:
    """The number of rows that a group must have."""
    number = int(text)
    if number < RARE:
        raise argparse.ArgumentTypeError(f"must be at least {RARE}")
    return number


def html(text: str) -> Path:
    """Where the page goes."""
    path = Path(text)
    if path.suffix.lower() not in (".html", ".htm"):
        raise argparse.ArgumentTypeError("must end in .html; the JSON gets the same name with .json")
    return path


def parser() -> argparse.ArgumentParser:
    """The command line."""
    commands = argparse.ArgumentParser(prog="python -m fairness", description=__doc__)
    actions = commands.add_subparsers(required=True)
    one = actions.add_parser("measure", help="the figures by group")
    add = one.add_argument
    add("groups", help="the file of groups: .csv or .parquet, with an id and a group per row")
    add("--reference", required=True, help="the group that the others are compared with")
    add(
        "--refuse",
        required=True,
        metavar="BAND",
        help="the lowest band, or the probability above which, a row is refused",
    )
    add("--below", action="store_true", help="refuse this band and lower ones, or up to this probability")
    add("--column", help="the column of groups, where there are several")
    add("--id", default="id", help="the column of ids, in both files (%(default)s); for the log also prediction_id")
    add("--in", dest="book", help="a labelled book instead of the log: CSV, Parquet, a directory, s3://")
    add("--label", help="the book's column of outcomes (the outcome's name)")
    add("--days", type=days, default=30, help="the days of the prediction log (%(default)s)")
    add("--caller", help="the name of the API key whose ids these are, where several asked; empty without a key")
    add("--least", type=least, default=LEAST, help="rows below which a group has no figures (%(default)s)")
    add("--others", action="store_true", help="the file of groups may have ids that are not among the rows")
    add("--out", type=html, default=Path("run/fairness.html"), help="where the page goes; the JSON is beside it")
    one.set_defaults(run=measured)
    one = actions.add_parser("card", help="the model with the figures on its card")
    one.add_argument("result", type=Path, help="the JSON of measure")
    one.add_argument("out", type=Path, help="the new bundle")
    one.add_argument("--key", type=Path, help="the private key that signs it")
    one.set_defaults(run=carded)
    for one in actions.choices.values():
        one.add_argument("--model", type=Path, default=SHIPPED, help="the bundle (%(default)s)")
    return commands


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except BundleError as error:
        print(f"fairness: {options.model}: {error}", file=sys.stderr)
    except OSError as error:
        print(f"fairness: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
    except (FairnessError, PortfolioError) as error:
        print(f"fairness: {error}", file=sys.stderr)
    except (sa.exc.SQLAlchemyError, sa.exc.ArgumentError) as error:  # never its text: it may hold rows, or a password
        name = type(getattr(error, "orig", None) or error).__name__
        print(f"fairness: the log cannot be read ({name})", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
