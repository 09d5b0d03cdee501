"""``python -m services.predictionlog audit ID | events | correct ID late|not-late | erase --before DATE | migrate``.

What is erased may be named by ``--request-id ID`` or ``--record-id ID`` too.

The database is ``PREDICTION_LOG_URL``, or the SQLite file of ``DATA_DIR`` (run/data).
Exit codes: 0 done, and reproduced; 1 not; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from modelbundle.errors import BundleError
from services.predictionlog import audit, event
from services.predictionlog.database import HEAD, connect, events, migrate, predictions, revision


def show(engine: sa.Engine, wanted: str, places: list[Path]) -> int:
    """Print each story as JSON; 0 where all were reproduced."""
    found = audit.find(engine, wanted)
    if not found:
        raise audit.NotFound(f"no prediction has {wanted} as its prediction id, request id or the caller's own id")
    stories = []
    for one in found:
        try:
            stories.append({**one, **audit.reproduce(one, audit.locate(one["model_version"], places))})
        except (audit.NotFound, BundleError) as error:
            stories.append({**one, "reproduced": False, "why_not": str(error)})
    print(json.dumps(stories, indent=2))
    return 0 if all(story["reproduced"] for story in stories) else 1


def history(engine: sa.Engine, kind: str | None) -> int:
    """Print each event as one line of JSON, oldest first."""
    query = sa.select(events).order_by(events.c.time, events.c.id)
    with engine.connect() as connection:
        for row in connection.execute(query if kind is None else query.where(events.c.kind == kind)).mappings():
            print(json.dumps({"time": row["time"], "kind": row["kind"], **json.loads(row["detail"])}))
    return 0


def erase(engine: sa.Engine, options: argparse.Namespace) -> int:
    """Erase, and say how many."""
    if options.before:
        condition = predictions.c.time < datetime.combine(options.before, datetime.min.time(), UTC).isoformat()
        why = {"before": options.before.isoformat()}
    elif options.request_id:
        condition, why = predictions.c.request_id == options.request_id, {"request_id": options.request_id}
    else:
        condition, why = predictions.c.record_id == options.record_id, {"record_id": options.record_id}
    gone = audit.erase(engine, condition, {**why, "by": getpass.getuser()})
    print(f"{gone} predictions were erased, which is recorded")
    return 0


def update(url: str) -> int:
    """Bring the tables to this version."""
    try:
        engine = connect(url)
        if (revision(engine) or "") < HEAD:
            migrate(engine)
    except SQLAlchemyError as error:
        print(f"migrate: {type(getattr(error, 'orig', None) or error).__name__}", file=sys.stderr)
        return 1
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m services.predictionlog", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    one = actions.add_parser("audit", help="what was answered, and whether the model still says so")
    one.add_argument("id", help="a prediction id, a request id, or the caller's own id")
    one.add_argument("--models", type=Path, action="append", help="where bundles are kept (models, STATE_DIR/bundles)")
    one = actions.add_parser("events", help="what happened to the models and to the log, as lines of JSON")
    one.add_argument("--kind", choices=event.KINDS)
    one = actions.add_parser("correct", help="replace an outcome that was wrong, and record that")
    one.add_argument("id", help="the prediction's id")
    one.add_argument("outcome", choices=["late", "not-late"])
    one = actions.add_parser("erase", help="forget predictions, and record that")
    which = one.add_mutually_exclusive_group(required=True)
    which.add_argument("--before", type=date.fromisoformat, help="a date in UTC, as 2026-01-31")
    which.add_argument("--request-id")
    which.add_argument("--record-id", help="the caller's own id")
    actions.add_parser("migrate", help="bring the tables to this version, as the first shipper that connects does")
    options = parser.parse_args(arguments)
    data = Path(os.environ.get("DATA_DIR") or "run/data")
    url = os.environ.get("PREDICTION_LOG_URL") or f"sqlite:///{(data / 'predictions.sqlite').absolute()}"
    if options.action == "migrate":
        return update(url)
    try:
        if url.startswith("sqlite") and not Path(sa.make_url(url).database or "").exists():
            raise audit.NotFound("there is no prediction log yet")
        engine = connect(url)
        if options.action == "erase":
            return erase(engine, options)
        if options.action == "correct":
            audit.correct(engine, options.id, options.outcome == "late", getpass.getuser())
            print(f"the outcome of {options.id} is now: {options.outcome}, which is recorded")
            return 0
        if options.action == "events":
            return history(engine, options.kind)
        state = Path(os.environ.get("STATE_DIR") or "run/state")
        return show(engine, options.id, options.models or [Path("models"), state / "bundles"])
    except (audit.NotFound, SQLAlchemyError, OSError) as error:
        print(f"{options.action}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
