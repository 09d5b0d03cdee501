"""``python -m logexport OUT``: the prediction log as Parquet and CSV with a data dictionary, in the new directory OUT.

The log is PREDICTION_LOG_URL, or the SQLite file of DATA_DIR (run/data). Exit codes: 0 written; 1 not, and why; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from logexport.write import Export, ExportError, write
from services import private
from services.places import bundle_directories, log_url
from services.predictionlog import audit
from services.predictionlog.__main__ import existing_log


def moment(text: str) -> str:
    """A date or time as the log writes it: ISO 8601 in UTC, to the microsecond."""
    found = datetime.fromisoformat(text)
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    return found.isoformat(timespec="microseconds")


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m logexport", description=__doc__)
    parser.add_argument("out", type=Path, help="the directory; it must not be there yet")
    parser.add_argument("--since", type=moment, help="the first day or time (all)")
    parser.add_argument("--until", type=moment, help="the day or time before which (now)")
    parser.add_argument(
        "--models", type=Path, action="append", help="where bundles are kept (models, STATE_DIR/bundles)"
    )
    options = parser.parse_args(arguments)
    try:
        existing_log()
        until = options.until or datetime.now(UTC).isoformat(timespec="microseconds")
        wanted = Export(options.since or "", until, getpass.getuser())
        counts = write(log_url(), options.out, wanted, options.models or bundle_directories())
    except (ExportError, audit.NotFound, OSError) as error:
        print(f"logexport: {error}", file=sys.stderr)
        return 1
    except (sa.exc.SQLAlchemyError, sa.exc.ArgumentError) as error:  # never its text: it may hold rows, or a password
        name = type(getattr(error, "orig", None) or error).__name__
        print(f"logexport: the log cannot be read ({name})", file=sys.stderr)
        return 1
    said = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    print(f"{options.out}: {said}; every column is in dictionary.csv")
    return 0


if __name__ == "__main__":
    private.begin()
    sys.exit(main())
