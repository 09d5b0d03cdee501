"""``python -m services.predictionlog audit ID | events | correct ID VALUE | erase --before DATE | replay | lines FILE | verify``.

``migrate`` brings the tables to this version.

What is erased may be named by ``--request-id ID`` or ``--record-id ID`` too. ``erase`` ends with 0 once no file here holds it.

The database is ``PREDICTION_LOG_URL``, or the SQLite file of ``DATA_DIR`` (run/data).
Exit codes: 0 done, and reproduced; 1 not; 2 wrong usage.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from modelbundle.errors import BundleError
from modelbundle.format.outcome import encoded
from services import private
from services.places import bundle_directories, data_dir, log_url
from services.predictionlog import audit, erasure, event, record, spool
from services.predictionlog.chain import EVENTS, OUTCOMES, ROWS
from services.predictionlog.chain import verify as chains
from services.predictionlog.database import BEFORE, HEAD, RECORD, REQUEST, connect, events, migrate, revision
from services.predictionlog.erasure import Erasure
from services.web import timestamps


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
            said = audit.as_written(row["detail"])  # changed by hand, it may be anything
            detail = said if isinstance(said, dict) else {"detail": said}
            print(json.dumps({"time": row["time"], "kind": row["kind"], **detail}))
    return 0


def erase(engine: sa.Engine, options: argparse.Namespace, root: Path) -> int:
    """Erase from the database, then from the files in DATA_DIR; says what is not done yet, and returns 1 then."""
    if (revision(engine) or "") < HEAD:
        migrate(engine)
    wanted = meant(options)
    names = set() if wanted.caller or options.every_key or options.before else erasure.callers(engine, wanted, root)
    if len(names) > 1:
        said = ", ".join(sorted(name or "no key" for name in names))
        print(
            f"erase: callers with different keys used this id ({said}): add --key NAME, or --every-key", file=sys.stderr
        )
        return 1
    gone = erasure.erase(engine, wanted, getpass.getuser())
    print(f"{gone} predictions were erased, which is recorded", flush=True)
    left = []
    if not erasure.shipped(root, options.wait):
        left.append(
            "older segments of the spool wait for the database. Their rows do not come into the log any more,"
            " but the files hold them: run this again once they are shipped"
        )
    cleaned = erasure.clean(root, wanted)
    if cleaned.rows:
        print(f"{cleaned.rows} rows were erased from damaged segments and from the challenger's queue")
    if cleaned.unreadable:
        files = ", ".join(map(str, cleaned.where))
        left.append(f"{cleaned.unreadable} damaged lines cannot be read and may hold such rows: look at {files}")
    if why := erasure.vacuum(engine):
        left.append(f"the database's file cannot be written anew, so free pages may hold rows: {why}")
    for one in left:
        print(f"not done: {one}", file=sys.stderr)
    return 1 if left else 0


def meant(options: argparse.Namespace) -> Erasure:
    """What is to be erased; what is predicted from now on is not."""
    now = timestamps.now()
    if options.before:
        until = datetime.combine(options.before, datetime.min.time(), UTC).isoformat(timespec="microseconds")
        return Erasure(BEFORE, options.before.isoformat(), min(until, now))
    if options.request_id:
        return Erasure(REQUEST, options.request_id, now, options.key or "")
    return Erasure(RECORD, options.record_id, now, options.key or "")


def correct(engine: sa.Engine, wanted: str, text: str, kept: list[Path]) -> int:
    """Replace the outcome of one prediction."""
    found = [one for one in audit.find(engine, wanted) if one["prediction_id"] == wanted]
    if not found or found[0]["outcome"] is None:
        raise audit.NotFound(f"no outcome is recorded for the prediction {wanted}")
    outcome = audit.outcome_of(found[0], kept)
    value = outcome.read(text)
    if value is None:
        raise audit.NotFound(f"{outcome.name} {outcome.rule}")
    audit.correct(engine, wanted, value, getpass.getuser())
    print(f"the outcome of {wanted} is now: {outcome.name} {encoded(value)}, which is recorded")
    return 0


def replay(url: str, root: Path, files: list[Path]) -> int:
    """Insert the lines that the shipper set aside, where they can be inserted now; 0 where none stays."""
    from services.predictionlog.shipper import DAMAGED, Shipper

    shipper, left = Shipper(root, url), 0
    for path in files or spool.named(root, DAMAGED):
        stay = shipper.replay(path)
        left += stay
        print(f"{path}: {stay} lines stay" if stay else f"{path}: all of it is in the log")
    return 1 if left else 0


def lines(path: Path) -> int:
    """Print the lines of a file of the spool without their checksums, as JSON that a person can read and mend.

    A line that cannot be read is printed as it is; 1 where there is one.
    """
    unreadable = 0
    for raw in spool.raw_lines(path):
        line = spool.apart(raw)[1]
        try:
            line = record.as_line(line)
        except msgspec.MsgspecError:
            unreadable += 1
        sys.stdout.buffer.write(line)
    sys.stdout.flush()
    return 1 if unreadable else 0


def verify(engine: sa.Engine, root: Path) -> int:
    """Walk the chains and print what was changed by hand; 0 where nothing was."""
    if (revision(engine) or "") < HEAD:
        raise audit.NotFound("the tables are of an earlier version: run python -m services.predictionlog migrate")
    found = chains.verify(connect(log_url(), reading=True), root)
    for finding in found.findings:
        print(finding)
    if found.wrong > len(found.findings):
        print(f"and {found.wrong - len(found.findings):,} more")
    rows, happened, known = (found.counts[kind] for kind in (ROWS, EVENTS, OUTCOMES))
    print(
        f"{rows.rows:,} predictions in {found.batches:,} batches, {rows.erased:,} erased,"
        f" {rows.unchained:,} from before the chains: {f'{found.wrong:,} findings' if found.wrong else 'all as it was'}"
    )
    print(f"{happened.rows:,} events, {happened.unchained:,} from before the chains")
    print(
        f"{known.rows:,} outcomes, {known.erased:,} erased, {known.corrected:,} corrected,"
        f" {known.unchained:,} from before the chains"
    )
    for name, (number, own) in sorted(found.heads.items()):
        print(f"head of {name}: {number} {own}")
    return 1 if found.wrong else 0


def existing_log() -> sa.Engine:
    """The log of :func:`log_url`; raises :class:`services.predictionlog.audit.NotFound` where there is none yet, and SQLAlchemy's
    errors."""
    url = log_url()
    if url.startswith("sqlite") and not Path(sa.make_url(url).database or "").exists():
        raise audit.NotFound("there is no prediction log yet")
    return connect(url)


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
    one.add_argument(
        "value", help="what became of it, as it is reported: true, false, or another value of the model's outcome"
    )
    one.add_argument("--models", type=Path, action="append", help="where bundles are kept (models, STATE_DIR/bundles)")
    one = actions.add_parser("erase", help="forget predictions, and record that")
    which = one.add_mutually_exclusive_group(required=True)
    which.add_argument("--before", type=date.fromisoformat, help="a date in UTC, as 2026-01-31")
    which.add_argument("--request-id")
    which.add_argument("--record-id", help="the caller's own id")
    whose = one.add_mutually_exclusive_group()
    whose.add_argument("--key", metavar="NAME", help="only what the caller with this API key sent")
    whose.add_argument("--every-key", action="store_true", help="of all callers, where several used this id")
    one.add_argument("--wait", type=float, default=10.0, metavar="SECONDS", help="for the spool to be shipped (10)")
    one = actions.add_parser("replay", help="insert what the shipper set aside, where it can be inserted now")
    one.add_argument("files", type=Path, nargs="*", help="files *.damaged (all of DATA_DIR/spool)")
    one = actions.add_parser("lines", help="print a file of the spool, so that a person can mend a line of it")
    one.add_argument("file", type=Path)
    actions.add_parser("verify", help="were rows changed, removed or added by hand? Walks the chains of hashes")
    actions.add_parser("migrate", help="bring the tables to this version, as the first shipper that connects does")
    options = parser.parse_args(arguments)
    if options.action == "erase" and options.before and options.key:
        parser.error("--key goes only with --request-id and --record-id")
    if options.action == "migrate":
        return update(log_url())
    try:
        if options.action == "lines":
            return lines(options.file)
        waiting = data_dir() / "spool"
        engine = connect(log_url()) if options.action == "erase" and waiting.is_dir() else existing_log()
        if options.action == "erase":
            return erase(engine, options, waiting)
        if options.action == "verify":
            return verify(engine, waiting)
        if options.action == "replay":
            return replay(log_url(), waiting, options.files)
        if options.action == "correct":
            return correct(engine, options.id, options.value, options.models or bundle_directories())
        if options.action == "events":
            return history(engine, options.kind)
        return show(engine, options.id, options.models or bundle_directories())
    except (audit.NotFound, BundleError, SQLAlchemyError, OSError) as error:
        print(f"{options.action}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    private.begin()
    sys.exit(main())
