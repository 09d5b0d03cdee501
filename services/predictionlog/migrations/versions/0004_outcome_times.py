"""Outcomes are found by the time that they came, so that monitoring reads the new ones and no others."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the index."""
    op.create_index("ix_outcomes_time", "outcomes", ["time"])


def downgrade() -> None:
    """Take it away."""
    op.drop_index("ix_outcomes_time", "outcomes")
