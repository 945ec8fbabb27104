"""Which runs want to work, which may, what is stopped, and how fast GitHub is written to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the tables; runs that are under way are put into the queue by whoever works on them."""
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "queue",
        sa.Column("run", sa.String, sa.ForeignKey("runs.id"), primary_key=True),
        sa.Column("segment", sa.Integer, nullable=False),
        sa.Column("round", sa.Integer, nullable=False),
        sa.Column("installation", number, nullable=False),
        sa.Column("repository", number, nullable=False),
        sa.Column("agent", sa.String, nullable=False),
        sa.Column("rank", sa.Integer, nullable=False),
        sa.Column("idle", sa.Boolean, nullable=False),
        sa.Column("admitted", sa.Boolean, nullable=False),
        sa.Column("asked", sa.Float, nullable=False),
        sa.Column("due", sa.Float, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
    )
    op.create_table(
        "stops",
        sa.Column("installation", number, primary_key=True, autoincrement=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
    )
    op.create_table(
        "paces",
        sa.Column("installation", number, primary_key=True, autoincrement=False),
        sa.Column("nexts", sa.JSON, nullable=False),
        sa.Column("until", sa.Float, nullable=False),
    )
