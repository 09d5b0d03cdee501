"""Chains of hashes over the predictions. Those that are there already are not chained; how many they are is chained."""

import hashlib
import json
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Make the table, and the first batch of the chain of the log."""
    table = op.create_table(
        "chain",
        sa.Column("spool", sa.String(32), primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("format", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("time", sa.String(32), nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("oldest", sa.String(32), nullable=False),
        sa.Column("newest", sa.String(32), nullable=False),
        sa.Column("ids", sa.Text, nullable=False),
        sa.Column("salts", sa.LargeBinary, nullable=False),
        sa.Column("digests", sa.LargeBinary, nullable=False),
    )
    op.create_index("ix_chain_newest_oldest", "chain", ["newest", "oldest"])
    count = op.get_bind().scalar(sa.text("SELECT count(*) FROM predictions"))
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    ids = json.dumps({"unchained": count}, separators=(",", ":"))
    digests = hashlib.sha256(ids.encode()).digest()
    head = json.dumps([1, "log", 1, "0" * 64, "begun", now, 0, "", ""], separators=(",", ":")).encode()
    found = hashlib.sha256(head + b"\n" + digests).hexdigest()
    batch = {"spool": "log", "number": 1, "previous": "0" * 64, "hash": found, "format": 1, "kind": "begun"}
    rest = {"time": now, "rows": 0, "oldest": "", "newest": "", "ids": ids, "salts": b"", "digests": digests}
    op.bulk_insert(table, [{**batch, **rest}])


def downgrade() -> None:
    """Take it away: nothing is chained then."""
    op.drop_table("chain")
