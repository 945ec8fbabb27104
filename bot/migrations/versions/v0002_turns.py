"""What is kept of turns beside the record: what the agent said, its session, what it used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the table, which SQLite files of some versions have without a note of it."""
    op.create_table(
        "turns",
        sa.Column("run", sa.String, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("run", "number"),
        if_not_exists=True,
    )
