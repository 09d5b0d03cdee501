"""What a challenger says of predictions that the champion answered."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "challenges",
        sa.Column(
            "prediction_id",
            sa.String(64),
            sa.ForeignKey("predictions.prediction_id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("model_version", sa.String(64), primary_key=True),
        sa.Column("probability", sa.Double, nullable=False),
        sa.Column("time", sa.String(32), nullable=False),
    )
    op.create_index("ix_challenges_model_version_time", "challenges", ["model_version", "time"])


def downgrade() -> None:
    """Take it away, with all that is in it."""
    op.drop_table("challenges")
