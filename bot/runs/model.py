"""A run as a value, with what belongs to it: its repository, source, plan and checkpoints.

Events change a run in `fold.py`; what comes next is decided in `transitions.py`.
"""

from __future__ import annotations

import hashlib
from base64 import b32encode
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from bot.events import GHOST
from bot.runs.transitions import State, Work
from bot.usage import Usage

ID_LENGTH = 10
"""Characters of a run's id: 50 bits, so that a million runs collide with a chance of 1 in 2,000."""


DIGEST_LENGTH = 16
"""Hexadecimal digits of a digest that tells two plans apart."""

CheckpointKind = Literal[
    "agent", "interrupted", "partial", "kept", "rollback", "undo", "update", "human"
]
"""What a checkpoint came of: a turn, whole or not, what passed of a refused one, going back, the
base brought in, or commits of people."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True)


class Repository(_Value):
    """A repository: GitHub's numeric id, and what may change about it.

    A local repository has installation 0, and its path as `url`. `size` is what GitHub counts, in
    KB; 0 where it did not say.
    """

    id: int
    owner: str
    name: str
    installation: int
    default_branch: str = "main"
    url: str = ""
    size: int = 0

    @property
    def full_name(self) -> str:
        """The name that people write, `owner/name`."""
        return f"{self.owner}/{self.name}"

    @property
    def page(self) -> str:
        """The address of its page; empty where it is not known, or there is none."""
        is_web = self.url.startswith(("https://", "http://"))
        return self.url.removesuffix(".git") if is_web else ""

    def identity(self) -> dict[str, Any]:
        """Say which repository it is, as a record does: not where it lies on somebody's disk."""
        return self.model_dump(include={"id", "owner", "name", "installation"})


class Source(_Value):
    """What a run came from; the same source is the same run.

    `kind` and `key` identify it (a comment's id and line, a schedule and its fire time);
    `url` is where a person can read it.
    """

    kind: Literal["comment", "label", "schedule", "cli", "trust"]
    key: str
    url: str = ""


class Onto(_Value):
    """The commit of a stranger's pull request that a run goes on from, and who wrote that.

    `moved` is the head that somebody pushed there since, by which the commit is trusted no more.
    """

    pull: int
    sha: str
    author: str
    tree: str = ""
    moved: str = ""


class Task(_Value):
    """A piece of the plan for one agent, after the tasks that it `needs`."""

    id: str
    title: str
    agent: str | None = None
    areas: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    done: bool = False


class Plan(_Value):
    """A graph of tasks; a plan of one task is a plan."""

    tasks: tuple[Task, ...] = ()

    def ready(self) -> tuple[Task, ...]:
        """Return the tasks that can be done now: not done, and all that they need is."""
        done = {task.id for task in self.tasks if task.done}
        return tuple(t for t in self.tasks if not t.done and done.issuperset(t.needs))

    @property
    def digest(self) -> str:
        """Name what is planned, whatever is done of it: another digest is another plan."""
        asked = [task.model_dump_json(exclude={"done"}) for task in self.tasks]
        return hashlib.sha256("\n".join(asked).encode()).hexdigest()[:DIGEST_LENGTH]

    def finish(self, task: str) -> Plan:
        """Return the plan with `task` done."""
        return Plan(
            tasks=tuple(
                t.model_copy(update={"done": True}) if t.id == task else t for t in self.tasks
            )
        )


class Checkpoint(_Value):
    """A candidate that passed the rules: (run, number, tree), published as a commit."""

    number: int
    sha: str
    tree: str
    parent: str
    kind: CheckpointKind = "agent"
    title: str = ""
    turn: int | None = None
    files: int = 0
    added: int = 0
    deleted: int = 0
    author: str = ""
    by: tuple[str, ...] = ()
    at: datetime | None = None


class Outcome(_Value):
    """How one check ended on one checkpoint, in a line."""

    name: str
    conclusion: str
    summary: str = ""
    seconds: float = 0.0


class Approval(_Value):
    """Who approved which head or plan, and how; `plan` and `policy` name what held then.

    `lacks` says who else had to approve at that time, and `kept` what kept it from being merged.
    """

    by: str
    sha: str
    tree: str
    of: Literal["head", "plan"] = "head"
    plan: str = ""
    policy: str = ""
    how: Literal["command", "review", "button", "cli"]
    at: datetime
    reason: str = ""
    lacks: str = ""
    kept: str = ""


class Doubt(_Value):
    """A decision of a restored record that does not count, told until another takes its place.

    `of` is what it was about, `what` which check or whom it names, and `by` who is said to have
    decided. Records of before that tell what they say alone.
    """

    said: str
    of: Literal["", "request", "plan", "head", "override", "delegate"] = ""
    by: str = ""
    what: str = ""


class Override(_Value):
    """A red check that somebody set aside, on one head, and why."""

    check: str
    sha: str
    by: str
    why: str
    at: datetime


class Delegate(_Value):
    """Somebody who may give, on this run, the commands that `by` may give."""

    to: str
    by: str
    at: datetime


class Hold(_Value):
    """Somebody who keeps the run from being merged, and why, if they said so."""

    by: str
    why: str = ""
    at: datetime


class Blocked(_Value):
    """A host that an agent wanted to reach and that policy does not name, and what tried."""

    host: str
    port: int
    program: str = ""


class Message(_Value):
    """What a person told the agent at work; `turn` was told it, None before one was.

    A turn that did not end by itself may not have heeded it, so then the next one is told again.
    """

    id: str
    by: str
    text: str
    turn: int | None = None


class Answer(_Value):
    """A review's thread, by its first comment, and the commit that answered it, if one did."""

    comment: int
    sha: str = ""


class Standing(_Value):
    """Why a run that has work does not work now, as it stands this moment.

    `queued` is at its `place` among those who wait; `outside` waits `since` then, and `until` then
    at the most, for something that is out of reach for that `reason`; `stopped` is an operator's.
    """

    kind: Literal["queued", "outside", "stopped"]
    place: int = 0
    reason: str = ""
    since: datetime | None = None
    until: datetime | None = None


class Run(_Value):
    """One request carried out.

    `context` is the conversation around the request, `review` that around the last changes asked
    for. `work` is what the segment under way or next to come does, None where the run waits;
    `segment` counts the segments, and `active` says that one of them is not over. `own_agent` and
    `own_checks` are commands given with the request itself, on the command line. `quarantine` is
    the refused candidate that can still be kept in part. `usage` and `seconds` are of the turns
    that are over; `usd_limit` and `token_limit` bound the whole run, None where nothing does.
    `sessions` are those of each agent's last turn, by which the next one can go on. `lost_turns`
    went with the machine that they were on. `taken` is who has the branch instead of the agent, and
    `handed` the head that was published for them; `given` that it came back with commits, from
    which the agent has yet to go on. `delegates` act for others, and `holds` keep it from being
    merged. `trusted` is the commit of a stranger's pull request that the run only checks, `onto`
    one that it goes on from.
    `config` and `organisation` are what the repository and its
    organisation said when it began, by the ids of their content. `config_wrong` says what is wrong
    with the newest configuration, where that of the commit `config_of` is in force instead.
    `forecast` is what runs here cost before, and `day` a warning about today's budget. `foreseen`
    says that it was looked ahead, and `notes` what of that people should know; `signs` that GitHub
    signs its commits, since its branches take no others. `outside` is what
    GitHub said of the repository's own checks, or of ours on the merge result, where that kept a
    merge from being made; `awaits` what a merge waits for, and `news` counts what was heard of
    that. `unconfirmed` says which decisions of the record do not count, since GitHub did not
    confirm them when the run was restored, and `doubted` that nobody can tell who asked for it.
    `unplanned` says that it was led away from a plan that still has to be approved.
    `standing` is no part of what is kept: it is asked for
    where a run is shown.
    """

    id: str
    repository: Repository
    source: Source
    requester: str
    email: str = ""
    request: str
    context: str = ""
    review: str = ""
    title: str = ""
    issue: int | None = None
    pull_request: int | None = None
    agent: str = ""
    base: str = ""
    wants_plan: bool = False
    minutes: int | None = None
    budget: float | None = None
    label: str = ""
    own_agent: str = ""
    own_checks: tuple[str, ...] = ()
    created_at: datetime
    updated_at: datetime

    state: State = State.QUEUED
    work: Work | None = Work.START
    resume_to: State | None = None
    reason: str = ""
    next_step: str = ""
    seq: int = 0
    segment: int = 0
    active: bool = False

    branch: str = ""
    base_sha: str = ""
    base_tree: str = ""
    head: str = ""
    config: str = ""
    organisation: str = ""
    config_wrong: str = ""
    config_of: str = ""
    forecast: dict[str, float] = Field(default_factory=dict)
    day: str = ""
    foreseen: bool = False
    signs: bool = False
    notes: tuple[str, ...] = ()
    plan: Plan = Plan()
    turns: int = 0
    turn_limit: int = 1
    turn_open: bool = False
    setting_up: bool = False
    candidate: dict[str, Any] = Field(default_factory=dict)
    instructions: tuple[str, ...] = ()
    answers: tuple[Answer, ...] = ()
    restore: dict[str, Any] = Field(default_factory=dict)
    foreign: str = ""
    pushers: tuple[str, ...] = ()
    checkpoints: tuple[Checkpoint, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    checked: str = ""
    outside: tuple[Outcome, ...] = ()
    awaits: str = ""
    news: int = 0
    refused: tuple[str, ...] = ()
    lost_turns: tuple[int, ...] = ()
    quarantine: dict[str, Any] = Field(default_factory=dict)
    approvals: tuple[Approval, ...] = ()
    merge_sha: str = ""
    attempt: int = 0
    retry: str = ""
    usage: Usage = Usage()
    seconds: float = 0.0
    usd_limit: float | None = None
    token_limit: int | None = None
    budget_low: bool = False
    sessions: dict[str, str] = Field(default_factory=dict)
    blocked_hosts: tuple[Blocked, ...] = ()
    messages: tuple[Message, ...] = ()
    taken: str = ""
    trusted: str = ""
    onto: Onto | None = None
    handed: str = ""
    given: bool = False
    overrides: tuple[Override, ...] = ()
    delegates: tuple[Delegate, ...] = ()
    holds: tuple[Hold, ...] = ()
    unconfirmed: tuple[Doubt, ...] = ()
    doubted: bool = False
    unplanned: bool = False

    standing: Standing | None = Field(default=None, exclude=True)

    @field_validator("unconfirmed", mode="before")
    @classmethod
    def _said_alone(cls, given: Any) -> Any:
        """Take rows of before, which held the sentences alone."""
        return tuple({"said": each} if isinstance(each, str) else each for each in given)

    @property
    def last(self) -> Checkpoint | None:
        """The newest checkpoint, or None before the first."""
        return self.checkpoints[-1] if self.checkpoints else None

    @property
    def tree(self) -> str:
        """The tree at the head: the newest checkpoint's, or that which the run began with."""
        return self.checkpoints[-1].tree if self.checkpoints else self.start_tree

    @property
    def start_sha(self) -> str:
        """The commit that the run's own work began on: the base, or a stranger's head."""
        return self.onto.sha if self.onto else self.base_sha

    @property
    def start_tree(self) -> str:
        """The tree of that commit."""
        return self.onto.tree if self.onto else self.base_tree

    @property
    def authors(self) -> tuple[str, ...]:
        """Who wrote some of what is at the head beside the agent."""
        written = tuple(login for each in self.checkpoints for login in each.by)
        return (*written, self.onto.author) if self.onto else written

    @property
    def has_unknown_author(self) -> bool:
        """Whether nobody knows who pushed some of what is at the head."""
        return any(GHOST in each.by for each in self.checkpoints)

    @property
    def is_part_unknown(self) -> bool:
        """Whether nobody can tell who had a part: who asked for it, or who pushed some of it."""
        return self.doubted or self.has_unknown_author

    @property
    def is_local(self) -> bool:
        """Whether the run works on a local repository, without GitHub."""
        return self.repository.installation == 0

    def next_task(self) -> Task | None:
        """Return the task that the next turn works on, or None when the plan is finished."""
        return next(iter(self.plan.ready()), None)

    def override_of(self, check: str) -> Override | None:
        """Return why a check does not count on the present head, or None."""
        return next((o for o in self.overrides if o.check == check and o.sha == self.head), None)

    def still_red(self, besides: str = "") -> tuple[str, ...]:
        """Name the checks that failed on what was checked last and count, but for one."""
        red = [each.name for each in self.outcomes if each.conclusion != "success"]
        return tuple(name for name in red if name != besides and not self.override_of(name))

    def unmet(self, besides: str = "") -> tuple[str, ...]:
        """Name what keeps the head from being merged beside its own checks, but for one."""
        names = [each.name for each in self.outside if each.conclusion != "success"]
        return tuple(name for name in names if name != besides and not self.override_of(name))

    @property
    def waits_to_merge(self) -> bool:
        """Whether the run is to be merged as soon as what it waits for is there."""
        return self.state is State.MERGING and self.work is None

    def unheard(self) -> tuple[Message, ...]:
        """Return what people said that no turn has been told yet."""
        return tuple(each for each in self.messages if each.turn is None)

    def approved(self) -> tuple[Approval, ...]:
        """Return the approvals that hold for the present head, each person's last one.

        One of another commit holds where the tree is the same, as after a rebase, and where the
        plan is; unless who gave it has become an author since, or may have. It then names the
        present head.
        """
        authors = {login.casefold() for login in self.authors}
        held: dict[str, Approval] = {}
        for each in self.approvals:
            same_tree = each.tree == self.tree and each.by.casefold() not in authors
            same_tree = same_tree and not self.has_unknown_author
            same_plan = each.plan in ("", self.plan.digest)
            if each.of == "head" and same_plan and (each.sha == self.head or same_tree):
                held[each.by.casefold()] = each.model_copy(update={"sha": self.head})
        return tuple(held.values())

    def approved_head(self) -> Approval | None:
        """Return the last approval that holds for the present head, or None."""
        return next(reversed(self.approved()), None)

    def voided(self) -> Approval | None:
        """Return the last approval of a head, where none holds for the present one."""
        given = [each for each in self.approvals if each.of == "head"]
        return given[-1] if given and not self.approved() else None


def run_id(repository: int, source: Source) -> str:
    """Derive a run's id from its source: lower-case base32, safe in a ref, ten characters."""
    digest = hashlib.sha256(f"{repository}\0{source.kind}\0{source.key}".encode()).digest()
    return b32encode(digest).decode().lower()[:ID_LENGTH]
