"""Outcomes have the name and the value that the model's bundle gives them.

Versions before this one write and read ``is_late`` only. Triggers keep both in step while such versions run beside this one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

TEXT = "CASE WHEN {0}is_late THEN 'true' ELSE 'false' END"
FLAG = "CASE {0}value WHEN 'true' THEN {1} WHEN 'false' THEN {2} END"
NEW = TEXT.format("NEW.")
SQLITE = (
    ("outcomes_named", "INSERT", "NEW.value IS NULL", f"value = {NEW}, name = 'is_late'"),
    ("outcomes_flagged", "INSERT", "NEW.value IS NOT NULL", f"is_late = {FLAG.format('NEW.', 1, 0)}"),
    ("outcomes_renamed", "UPDATE OF is_late", f"NEW.is_late IS NOT NULL AND NEW.value IS NOT {NEW}",
     f"value = {NEW}, name = 'is_late'"),
    ("outcomes_reflagged", "UPDATE OF value", "NEW.value IS NOT OLD.value", f"is_late = {FLAG.format('NEW.', 1, 0)}"),
)  # fmt: skip
FUNCTION = f"""
CREATE OR REPLACE FUNCTION outcomes_in_step() RETURNS trigger AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.value IS NULL
        OR TG_OP = 'UPDATE' AND NEW.value IS NOT DISTINCT FROM OLD.value AND NEW.is_late IS DISTINCT FROM OLD.is_late
    THEN
        NEW.value := {NEW};
        NEW.name := 'is_late';
    ELSE
        NEW.is_late := {FLAG.format("NEW.", "true", "false")};
    END IF;
    RETURN NEW;
END
$$ LANGUAGE plpgsql
"""


def upgrade() -> None:
    """Add the columns, with what is known, and the triggers."""
    with op.batch_alter_table("outcomes") as table:
        table.add_column(sa.Column("name", sa.String(64)))
        table.add_column(sa.Column("value", sa.Text))
        table.alter_column("is_late", existing_type=sa.Boolean, nullable=True)
    op.execute(f"UPDATE outcomes SET name = 'is_late', value = {TEXT.format('')}")
    if op.get_bind().dialect.name == "postgresql":
        op.execute(FUNCTION)
        op.execute(
            "CREATE TRIGGER outcomes_in_step BEFORE INSERT OR UPDATE ON outcomes"
            " FOR EACH ROW EXECUTE FUNCTION outcomes_in_step()"
        )
        return
    for name, change, condition, assignment in SQLITE:
        op.execute(
            f"CREATE TRIGGER {name} AFTER {change} ON outcomes WHEN {condition}"
            f" BEGIN UPDATE outcomes SET {assignment} WHERE prediction_id = NEW.prediction_id; END"
        )


def downgrade() -> None:
    """Take them away, with the outcomes that are neither true nor false."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER outcomes_in_step ON outcomes")
        op.execute("DROP FUNCTION outcomes_in_step()")
    else:
        for name, *_ in SQLITE:
            op.execute(f"DROP TRIGGER {name}")
    op.execute("DELETE FROM outcomes WHERE is_late IS NULL")
    with op.batch_alter_table("outcomes") as table:
        table.alter_column("is_late", existing_type=sa.Boolean, nullable=False)
        table.drop_column("value")
        table.drop_column("name")
