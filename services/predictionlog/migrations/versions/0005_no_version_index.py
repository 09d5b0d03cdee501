"""Nobody asks for all predictions of one version: what monitoring wants of one, it finds by time."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Take the index away, a tenth of the log's size."""
    op.drop_index("ix_predictions_model_version", "predictions")


def downgrade() -> None:
    """Make it again."""
    op.create_index("ix_predictions_model_version", "predictions", ["model_version"])
