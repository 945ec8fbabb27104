"""What Alembic runs: the steps that are asked for, on the connection that it is given."""

from __future__ import annotations

from alembic import context

from bot.database import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
