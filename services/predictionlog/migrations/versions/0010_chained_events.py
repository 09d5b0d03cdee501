"""Events and outcomes are chained too. Those that are there already are not; how many they are is chained.

The way back makes tombstones of them in the chains, which the version before accepts as erased rows.
"""

import hashlib
import json
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

SALT = 16
chain = sa.table(
    "chain",
    *map(
        sa.column, ("spool", "number", "previous", "hash", "format", "kind", "time", "rows", "oldest", "newest", "ids")
    ),
    sa.column("salts", sa.LargeBinary),
    sa.column("digests", sa.LargeBinary),
)


def upgrade() -> None:
    """Count them, while nobody inserts, in the chain of the log."""
    lock("log")
    counts = {}
    for name in ("outcomes", "events"):  # in the order in which an erasure changes them
        if op.get_bind().dialect.name == "postgresql":
            op.execute(f"LOCK TABLE {name} IN SHARE MODE")
        counts[name] = op.get_bind().scalar(sa.text(f"SELECT count(*) FROM {name}"))
    note("extended", counts)


def downgrade() -> None:
    """Take ids and salts out of these batches, and say so in the chain of the log."""
    lock("log")
    lock("direct")
    erased = []
    which = chain.c.kind.in_(("events", "outcomes"))
    for spool, number, rows in list(
        op.get_bind().execute(sa.select(chain.c.spool, chain.c.number, chain.c.rows).where(which))
    ):
        mine = sa.and_(chain.c.spool == spool, chain.c.number == number)
        nothing = {"ids": json.dumps([None] * rows, separators=(",", ":")), "salts": bytes(SALT * rows)}
        op.get_bind().execute(sa.update(chain).where(mine).values(**nothing))
        erased.append([spool, number, list(range(rows))])
    if erased:
        note("erased", {"erased": erased, "unchained": 0})


def lock(spool: str) -> None:
    """As those who append do."""
    if op.get_bind().dialect.name == "postgresql":
        op.get_bind().execute(sa.text("SELECT pg_advisory_xact_lock(7210593, hashtext(:spool))"), {"spool": spool})


def note(kind: str, content: dict[str, object]) -> None:
    """Append to the chain of the log."""
    last = (
        sa.select(chain.c.number, chain.c.hash).where(chain.c.spool == "log").order_by(chain.c.number.desc()).limit(1)
    )
    number, previous = op.get_bind().execute(last).one_or_none() or (0, "0" * 64)
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    ids = json.dumps(content, separators=(",", ":"))
    digests = hashlib.sha256(ids.encode()).digest()
    head = json.dumps([1, "log", number + 1, previous, kind, now, 0, "", ""], separators=(",", ":")).encode()
    found = hashlib.sha256(head + b"\n" + digests).hexdigest()
    batch = {"spool": "log", "number": number + 1, "previous": previous, "hash": found, "format": 1, "kind": kind}
    rest = {"time": now, "rows": 0, "oldest": "", "newest": "", "ids": ids, "salts": b"", "digests": digests}
    op.bulk_insert(chain, [{**batch, **rest}])
