"""What happens to a run, as the ledger keeps it: `{v, id, seq, at, actor, type, data}`.

An event is a fact in the past tense. Its `data` is plain JSON without prompts, logs or secrets.
A reader keeps the types that it does not know, so an older server never loses a newer one's record.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator

SCHEMA_VERSION = 1
"""Raised when the meaning of a field changes; new types and new fields do not raise it."""

ORCHESTRATE = "orchestrate"
"""The actor of what the server did by itself."""

GHOST = "ghost"
"""GitHub shows the author of a deleted account under this name, and may send null for it; the actor
of what nobody knows who did it."""


class Type(StrEnum):
    """The events of this version."""

    REQUESTED = "requested"
    STARTED = "started"
    PLANNED = "planned"
    FORESEEN = "foreseen"
    SIGNATURES_DEMANDED = "signatures_demanded"
    SETUP_STARTED = "setup_started"
    SETUP_ENDED = "setup_ended"
    TURN_STARTED = "turn_started"
    TURN_ENDED = "turn_ended"
    CANDIDATE_REFUSED = "candidate_refused"
    CHECKPOINTED = "checkpointed"
    CHECKED = "checked"
    CHANGES_ASKED = "changes_asked"
    APPROVED = "approved"
    REJECTED = "rejected"
    TOLD = "told"
    HEARD = "heard"
    BUDGET_LOW = "budget_low"
    LIMITS_GIVEN = "limits_given"
    PAUSED = "paused"
    TAKEN = "taken"
    HANDED_OVER = "handed_over"
    GIVEN = "given"
    OVERRIDDEN = "overridden"
    DELEGATED = "delegated"
    UNDELEGATED = "undelegated"
    HELD = "held"
    RELEASED = "released"
    UNCONFIRMED = "unconfirmed"
    RESUMED = "resumed"
    RETRIED = "retried"
    ROLLBACK_ASKED = "rollback_asked"
    UPDATE_ASKED = "update_asked"
    HUMAN_PUSHED = "human_pushed"
    PULL_REQUEST_OPENED = "pull_request_opened"
    MERGE_AWAITED = "merge_awaited"
    REPORTED = "reported"
    MERGED = "merged"
    BLOCKED = "blocked"
    CANCELLED = "cancelled"
    FAILED = "failed"


class Event(BaseModel):
    """One fact of a run.

    `id` names the cause (a comment's line, a segment's step): the same cause is recorded once.
    `seq` counts from 1 within the run; 0 says that the event is not recorded yet. `at` is UTC.
    `type` is a `Type`, or the name that a newer version gave it; fields that a newer version added
    are kept as well.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    v: int = SCHEMA_VERSION
    id: str = Field(min_length=1, max_length=200)
    seq: int = Field(default=0, ge=0)
    at: datetime
    actor: str
    type: str
    data: dict[str, Any] = Field(default_factory=dict)

    @field_validator("at")
    @classmethod
    def _in_utc(cls, at: datetime) -> datetime:
        if at.tzinfo is None:
            raise ValueError("an event's time names its zone")
        # As it is written, so that what is read again makes the same run.
        return at.astimezone(UTC).replace(microsecond=at.microsecond // 1000 * 1000)

    @field_serializer("at")
    def _as_text(self, at: datetime) -> str:
        return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
