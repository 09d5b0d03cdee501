"""Predictions are searched by request, by the caller's id, by model and by band, newest first: each has an index that ends in
time.

The two for ids take the places of those without it. It takes some seconds for each million rows, in which rows wait in the spool.
"""

from alembic import op

revision = "0008"
down_revision = "0007"
IDS = ("request_id", "record_id")


def upgrade() -> None:
    """Make them."""
    for name in IDS:
        op.create_index(f"ix_predictions_{name}_time", "predictions", [name, "time"])
        op.drop_index(f"ix_predictions_{name}", "predictions")
    op.create_index("ix_predictions_model_version_band_time", "predictions", ["model_version", "band", "time"])


def downgrade() -> None:
    """Those of before."""
    op.drop_index("ix_predictions_model_version_band_time", "predictions")
    for name in IDS:
        op.create_index(f"ix_predictions_{name}", "predictions", [name])
        op.drop_index(f"ix_predictions_{name}_time", "predictions")
