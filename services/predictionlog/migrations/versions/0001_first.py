"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "predictions",
        sa.Column("prediction_id", sa.String(64), primary_key=True),
        sa.Column("time", sa.String(32), nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("key_name", sa.String(64)),
        sa.Column("record_id", sa.String(64)),
        sa.Column("probability", sa.Double, nullable=False),
        sa.Column("band", sa.String(64)),
        sa.Column("probabilities", sa.Text, nullable=False),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.Column("warnings", sa.Text, nullable=False),
    )
    for name in ("time", "model_version", "request_id", "record_id"):
        op.create_index(f"ix_predictions_{name}", "predictions", [name])
    op.create_table(
        "outcomes",
        sa.Column("prediction_id", sa.String(64), primary_key=True),
        sa.Column("is_late", sa.Boolean, nullable=False),
        sa.Column("time", sa.String(32), nullable=False),
        sa.Column("key_name", sa.String(64)),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("time", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
    op.create_index("ix_events_kind", "events", ["kind"])


def downgrade() -> None:
    """Take them away, with all that is in them."""
    for name in ("events", "outcomes", "predictions"):
        op.drop_table(name)
