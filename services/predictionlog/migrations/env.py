"""Alembic's entry: runs on the connection that :func:`services.predictionlog.database.migrate` gives it."""

from alembic import context

from services.predictionlog.database import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
