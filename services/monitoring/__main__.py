"""``python -m services.monitoring report [--days N] [--out FILE.html] [--json FILE]``: how the models do, as a page and as data.

The log is ``PREDICTION_LOG_URL``, or the SQLite file of ``DATA_DIR`` (run/data). Bundles are looked for in models and in
``STATE_DIR`` (run/state). Exit codes: 0 nothing drifted; 3 the model that scored last has drifted; 1 there is nothing to report
from; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from modelbundle.durable import write
from services import private
from services.monitoring import report, unseen
from services.monitoring.log_reader.model_versions import ModelVersions
from services.monitoring.log_reader.queries import NoLog, PredictionLog
from services.monitoring.monitor import Monitor
from services.places import log_url, replica_bundles

DRIFTED = 3
MOST_DAYS = 366


def compute(environment: Mapping[str, str], days: int, models: list[Path]) -> dict[str, Any]:
    """The summary of the last ``days``.

    Raises :class:`NoLog`, :class:`sqlalchemy.exc.SQLAlchemyError`, or :class:`sqlalchemy.exc.ArgumentError` for what is no URL.
    """
    log = PredictionLog(log_url(environment))
    log.check()
    return Monitor(log, ModelVersions([*models, *replica_bundles(environment)]), days).summary(time.time())


def days(text: str) -> int:
    """A number of days."""
    number = int(text)
    if not 1 <= number <= MOST_DAYS:
        raise argparse.ArgumentTypeError(f"must be from 1 to {MOST_DAYS}")
    return number


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m services.monitoring", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    one = actions.add_parser("report", help="how the models did in the last days")
    one.add_argument("--days", type=days, default=30)
    one.add_argument("--out", type=Path, default=Path("run/monitor.html"), help="where the page goes")
    one.add_argument("--json", type=Path, help="where the same goes as JSON; - prints it")
    one.add_argument("--models", type=Path, action="append", help="where bundles are kept, besides STATE_DIR (models)")
    options = parser.parse_args(arguments)
    try:
        content = unseen.with_values(compute(os.environ, options.days, options.models or [Path("models")]))
        options.out.parent.mkdir(parents=True, exist_ok=True)
        write(options.out, report.page(content).encode(), private.FILE)
        if options.json and str(options.json) != "-":
            write(options.json, json.dumps(content).encode(), private.FILE)
    except (NoLog, OSError) as error:
        print(f"monitor: {error}", file=sys.stderr)
        return 1
    except (SQLAlchemyError, sa.exc.ArgumentError) as error:
        # never its text: it may hold rows, or a password
        print(
            f"monitor: the log cannot be read ({type(getattr(error, 'orig', None) or error).__name__})", file=sys.stderr
        )
        return 1
    latest = content["models"][0] if content["models"] else None
    if str(options.json) == "-":
        print(json.dumps(content))
    else:
        said = f"{latest['name'] or latest['model_version'][:12]}: {latest['text']}" if latest else "No row was scored."
        print(f"{said} See {options.out}")
    return DRIFTED if latest and latest["status"] == "drifted" else 0


if __name__ == "__main__":
    sys.exit(main())
