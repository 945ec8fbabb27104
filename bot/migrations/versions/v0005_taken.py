"""Which process took a segment out of the queue, so that others know what the dead left."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the column; a process of the version before leaves it empty."""
    op.add_column("queue", sa.Column("worker", sa.String, nullable=False, server_default=""))
