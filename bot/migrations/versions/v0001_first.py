"""The tables of the first version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make them."""
    op.create_table(
        "repositories",
        sa.Column("id", NUMBER, primary_key=True),
        sa.Column("installation", NUMBER, nullable=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("schedules", sa.JSON, nullable=False),
        sa.Column("seen", sa.JSON, nullable=False),
    )
    op.create_index("ix_repositories_installation", "repositories", ["installation"])
    _runs()
    op.create_table(
        "drawings",
        sa.Column("run", sa.String, nullable=False),
        sa.Column("key", sa.String, nullable=False),
        sa.Column("github_id", sa.String, nullable=False),
        sa.Column("digest", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("run", "key"),
    )
    op.create_table(
        "deliveries",
        sa.Column("guid", sa.String, primary_key=True),
        sa.Column("event", sa.String, nullable=False),
        sa.Column("received_at", sa.String, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due", sa.Float, nullable=False),
        sa.Column("error", sa.String, nullable=False),
    )
    op.create_index("deliveries_by_state", "deliveries", ["state", "due"])


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("repository", NUMBER, sa.ForeignKey("repositories.id"), nullable=False),
        sa.Column("installation", NUMBER, nullable=False),
        sa.Column("issue", NUMBER),
        sa.Column("pull_request", NUMBER),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("touched", sa.Integer, nullable=False),
        sa.Column("drawn", sa.Integer, nullable=False),
        sa.Column("created_at", sa.String, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
    )
    op.create_index("runs_by_issue", "runs", ["repository", "issue"])
    op.create_index("runs_by_pull_request", "runs", ["repository", "pull_request"])
    op.create_index("runs_by_state", "runs", ["state"])
    op.create_table(
        "events",
        sa.Column("run", sa.String, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("id", sa.String, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("run", "seq"),
        sa.UniqueConstraint("run", "id"),
    )
    op.create_table(
        "results",
        sa.Column("run", sa.String, sa.ForeignKey("runs.id"), nullable=False),
        sa.Column("sha", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.PrimaryKeyConstraint("run", "sha", "name"),
    )
