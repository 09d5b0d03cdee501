"""Events have an id, so that writing one twice changes nothing."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Those that are there keep none."""
    op.add_column("events", sa.Column("event_id", sa.String(32)))
    op.create_index("ix_events_event_id", "events", ["event_id"], unique=True)


def downgrade() -> None:
    """Without."""
    op.drop_index("ix_events_event_id", "events")
    op.drop_column("events", "event_id")
