"""What an agent says that it does, in words of ours: small values, a line of JSON, a line to read.

They are what the agent tells. What it changed is read from the file system, and what it used is
counted at the gateway.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["pending", "running", "done", "failed"]
Kind = Literal["read", "edit", "delete", "move", "search", "run", "think", "fetch", "other"]

TITLE_CHARACTERS = 200
"""Of a title in a line to read: what a terminal shows without turning a page."""

STEPS_SHOWN = 20
"""Steps of a plan that are kept: more is a text, and no plan."""


@dataclass(frozen=True, slots=True)
class Message:
    """Something the agent said, or thought aloud."""

    text: str
    thought: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """What the agent means to do: (status, step)."""

    steps: tuple[tuple[Status, str], ...]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool that the agent uses; told again, under the same `id`, when its status changes.

    paths: as the agent writes them. same: equal for calls of the same tool with the same input.
    """

    id: str
    title: str
    kind: Kind
    status: Status
    paths: tuple[str, ...] = ()
    same: str = ""


@dataclass(frozen=True, slots=True)
class Diff:
    """A change to a file that the agent shows: lines added and removed."""

    path: str
    added: int
    removed: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the agent itself counts; `usd` where it counts that, too."""

    input: int
    output: int
    cached: int = 0
    usd: float | None = None


@dataclass(frozen=True, slots=True)
class Permission:
    """Something that the agent asked leave for, and what it was answered."""

    title: str
    allowed: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something that the adapter has to say, such as a line that is no message of the protocol."""

    text: str


Event = Message | Plan | ToolCall | Diff | Tokens | Permission | Note

_NAMES = {
    Message: "message",
    Plan: "plan",
    ToolCall: "tool_call",
    Diff: "diff",
    Tokens: "usage",
    Permission: "permission",
    Note: "note",
}


def as_json(event: Event) -> dict[str, Any]:
    """Write an event as plain data; its kind is under `event`."""
    return {"event": _NAMES[type(event)], **asdict(event)}


def line(event: Event) -> str:
    """Write an event as one line for people; empty where there is nothing to read."""
    match event:
        case Message(text, thought):
            return f"~ {text}" if thought and text else text
        case Plan(steps):
            done = sum(status == "done" for status, _ in steps)
            now = next((step for status, step in steps if status != "done"), "done")
            return f"plan: {done} of {len(steps)} done; {_short(now)}"
        case ToolCall(status="pending"):
            return ""
        case ToolCall():
            return f"{event.kind}: {_short(event.title)}{_ENDS[event.status]}"
        case Diff(path, added, removed):
            return f"edit: {path} +{added} -{removed}"
        case Tokens():
            usd = "" if event.usd is None else f", {event.usd:.4f} USD"
            return f"usage, as the agent counts: {event.input} in, {event.output} out{usd}"
        case Permission(title, True, _):
            return f"allowed: {_short(title)}"
        case Permission(title, _, reason):
            return f"denied: {_short(title)}: {reason}"
        case Note(text):
            return _short(text)
    raise AssertionError(event)


_ENDS: dict[Status, str] = {"pending": "", "running": " …", "done": "", "failed": " (failed)"}


def _short(text: str) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= TITLE_CHARACTERS else flat[: TITLE_CHARACTERS - 1] + "…"
