"""What should stand on GitHub for a run, as values: `view.py` makes them, `draw.py` draws them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class StatusComment:
    """The run's one comment, in the conversation `number`; `marker` stands in its body."""

    number: int
    marker: str
    body: str


@dataclass(frozen=True, slots=True)
class Annotation:
    """A remark on lines of a file, in GitHub's own fields."""

    path: str
    start_line: int
    end_line: int
    annotation_level: str
    message: str
    title: str


@dataclass(frozen=True, slots=True)
class Action:
    """A button: 20 characters of label, 20 of identifier and 40 of description at most."""

    label: str
    description: str
    identifier: str


@dataclass(frozen=True, slots=True)
class CheckRun:
    """A check on a commit. `conclusion` is None while it is in progress.

    `external_id` finds it again; it names the run, the checkpoint, the attempt and the check.
    `restored` says that less is known of its output than GitHub may have: what stands is kept.
    """

    name: str
    external_id: str
    head: str
    conclusion: str | None
    title: str
    summary: str
    text: str
    annotations: tuple[Annotation, ...] = ()
    actions: tuple[Action, ...] = ()
    restored: bool = False

    @property
    def key(self) -> str:
        """Name it in the memory of what was drawn."""
        return f"check:{self.head}:{sha256(self.external_id.encode()).hexdigest()[:20]}"

    def payload(self) -> dict[str, Any]:
        """Return GitHub's fields, without the annotations, which are appended."""
        status = "completed" if self.conclusion else "in_progress"
        fields: dict[str, Any] = {
            "name": self.name,
            "external_id": self.external_id,
            "status": status,
            "actions": [asdict(action) for action in self.actions],
        }
        if not self.restored:
            fields["output"] = {"title": self.title, "summary": self.summary}
        if self.text:
            fields["output"]["text"] = self.text
        if self.conclusion:
            fields["conclusion"] = self.conclusion
        return fields


@dataclass(frozen=True, slots=True)
class PullRequest:
    """The run's pull request. `ready` is no draft; `is_open` is False for one to be closed."""

    title: str
    body: str
    head: str
    base: str
    ready: bool
    is_open: bool


@dataclass(frozen=True, slots=True)
class Attention:
    """People must act. `key` is the same as long as the run stands where it does.

    A review is asked of `login`, or where that cannot be, `text` mentions them in `number`.
    """

    key: str
    kind: Literal["review", "mention"]
    number: int
    login: str
    marker: str
    text: str


@dataclass(frozen=True, slots=True)
class ThreadAnswer:
    """The answer to a comment of a review: which commit answered it."""

    review_comment: int
    marker: str
    text: str


@dataclass(frozen=True, slots=True)
class SpentLabel:
    """The label that started the run, taken off its issue so that it can be set again."""

    number: int
    name: str


@dataclass(frozen=True, slots=True)
class View:
    """All that should stand on GitHub for a run."""

    comment: StatusComment | None = None
    pull: PullRequest | None = None
    checks: tuple[CheckRun, ...] = ()
    attention: Attention | None = None
    answers: tuple[ThreadAnswer, ...] = ()
    label: SpentLabel | None = None


def digest(value: object) -> str:
    """Return a digest of plain data, to know later whether it changed: 160 bits of SHA-256."""
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:40]
