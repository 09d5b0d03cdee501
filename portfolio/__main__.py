"""``python -m portfolio IN OUT``: score a portfolio of CSV or Parquet files, local or in an object store.

Exit codes: 0 all rows are in OUT or in OUT.rejected.csv; 1 nothing was written, and why; 2 wrong usage; 3 with --strict, OUT was
written and some rows were rejected; 130 interrupted: the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from modelbundle.errors import BundleError
from portfolio import arrow
from portfolio.errors import PortfolioError
from portfolio.job.run import Summary, run
from portfolio.options import Options, add_arguments

INTERRUPTED = 130
REJECTED = 3


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m portfolio", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="IN", help="a .csv or .parquet file, or a directory of them; s3://… too")
    parser.add_argument("output", metavar="OUT", help="a .csv or .parquet file; of a directory, a directory too")
    add_arguments(parser)
    parser.add_argument(
        "--allow-pickle", action="store_true", help="take a model without compiled scorer: runs its code"
    )
    parser.add_argument("--format", dest="kind", choices=["csv", "parquet"], help="of the files in an output directory")
    parser.add_argument("--workers", type=int, default=0, help="number of processes that score (one per core)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="directory for finished parts (OUT.parts)")
    parser.add_argument("--fresh", action="store_true", help="discard what an earlier run has scored")
    parser.add_argument("--quiet", dest="progress", action="store_false", help="show no progress")
    return parser


def line(summary: Summary) -> str:
    """Return the summary as a line of text."""
    again = f" ({summary.resumed:,} of them by an earlier run)" if summary.resumed else ""
    apart = f"; {summary.rejected:,} rejected, see {summary.rejects}" if summary.rejected else ""
    absent = f"; not in the input, so missing on every row: {', '.join(summary.absent)}" if summary.absent else ""
    return (
        f"{summary.output}: {summary.scored:,} of {summary.rows:,} rows scored{again}{apart}; "
        f"{summary.seconds:.1f} s, {summary.rows_per_second:,} rows/s, model {summary.model_version[:12]}…{absent}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code. Without ``arguments`` the process is the command's own, and so are its settings."""
    commands = parser()
    asked = commands.parse_args(arguments)
    if arguments is None and not asked.allow_pickle:
        arrow.leave_out_pandas()
    if asked.workers < 0:
        commands.error("--workers must not be negative")
    try:
        summary = run(Options.from_arguments(asked))
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return INTERRUPTED
    except (PortfolioError, BundleError, OSError) as error:
        text = f"{asked.model}: {error}" if isinstance(error, BundleError) else str(error)
        print(json.dumps({"error": text}) if asked.json else f"score: {text}", file=sys.stderr)
        return 1
    print(json.dumps(summary.to_json()) if asked.json else line(summary))
    return REJECTED if asked.strict and summary.rejected else 0


if __name__ == "__main__":
    sys.exit(main())
