"""What was erased does not come back: rows that arrive late consult the erasures. Versions before this one do not."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "erasures",
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("value", sa.String(64), primary_key=True),
        sa.Column("caller", sa.String(64), primary_key=True),
        sa.Column("until", sa.String(32), nullable=False),
    )
    op.create_index("ix_erasures_until", "erasures", ["until"])


def downgrade() -> None:
    """Take it away: what waits may arrive then."""
    op.drop_table("erasures")
