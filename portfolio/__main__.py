"""``python -m portfolio IN OUT``: score a book of CSV or Parquet, on this machine or in an object store.

Exit codes: 0 all rows are in OUT or in OUT.rejected.csv; 1 nothing was written, and why; 2 wrong usage; 3 with --strict, OUT was
written and some rows were rejected; 130 interrupted: the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from modelbundle.errors import BundleError
from portfolio.errors import PortfolioError
from portfolio.job.run import Summary, run
from portfolio.options import Options

INTERRUPTED = 130
REJECTED = 3


def parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m portfolio", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", metavar="IN", help="a .csv or .parquet file, or a directory of them; s3://… too")
    parser.add_argument("output", metavar="OUT", help="a .csv or .parquet file; of a directory, a directory too")
    parser.add_argument("--model", type=Path, default=Path("models/late-payers.bundle"), help="the bundle")
    parser.add_argument("--sha256", help="the hash that the bundle must have")
    parser.add_argument("--signed", type=Path, metavar="KEY.pem", help="the bundle must be signed by one of these keys")
    parser.add_argument("--allow-pickle", action="store_true", help="a model without compiled scorer: runs its code")
    parser.add_argument("--no-reasons", action="store_true", help="leave the column of reasons empty, which is faster")
    parser.add_argument("--format", choices=["csv", "parquet"], help="of the files in an output directory")
    parser.add_argument("--workers", type=int, default=0, help="processes that score (one per core)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where finished parts are kept (OUT.parts)")
    parser.add_argument("--force", action="store_true", help="replace OUT")
    parser.add_argument("--fresh", action="store_true", help="do not go on with what an earlier run has scored")
    parser.add_argument("--strict", action="store_true", help="exit with 3 where rows were rejected")
    parser.add_argument("--json", action="store_true", help="the summary as one object of JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    return parser


def line(summary: Summary) -> str:
    """The summary for a person."""
    again = f" ({summary.resumed:,} of them by an earlier run)" if summary.resumed else ""
    apart = f"; {summary.rejected:,} rejected, see {summary.rejects}" if summary.rejected else ""
    return (
        f"{summary.output}: {summary.scored:,} of {summary.rows:,} rows scored{again}{apart}; "
        f"{summary.seconds:.1f} s, {summary.rows_per_second:,} rows/s, model {summary.model_version[:12]}…"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    commands = parser()
    asked = commands.parse_args(arguments)
    if asked.workers < 0:
        commands.error("--workers must not be negative")
    options = Options(
        source=asked.source,
        output=asked.output,
        model=asked.model,
        sha256=asked.sha256,
        signed=asked.signed,
        kind=asked.format,
        with_reasons=not asked.no_reasons,
        allow_pickle=asked.allow_pickle,
        workers=asked.workers,
        work=asked.work,
        force=asked.force,
        fresh=asked.fresh,
        progress=not asked.quiet,
    )
    try:
        summary = run(options)
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
