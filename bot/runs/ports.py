"""What a run asks of the outside, and nothing more.

Adapters fulfil these without being imported; `bot/app.py` brings the two together. What passes
between them are plain paths, ids and values.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from bot.runs.inforce import Past
from bot.runs.model import Approval, Run
from policies.config import Config
from policies.facts import BranchRules, Change, Commit, Method, Reported, Secret

Clock = Callable[[], datetime]
"""The time in UTC; the only way in which a run learns it."""

Output = Callable[[str], None]
"""Takes what a program printed, as it prints it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run's files are on this machine; the workspace is disposable, the rest stays.

    `namespace` is the process in whose namespace alone the workspace is seen; None for everyone's.
    `env`, `path` and `readable` are what jobs there need of the environment: variables, in which
    `{workspace}` is the workspace as the job sees it, the folders in it whose programs come first,
    and folders outside.
    """

    workspace: Path
    home: Path
    logs: Path
    namespace: int | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    readable: tuple[Path, ...] = ()
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an environment is made from, beside a commit.

    `programs` are folders of programs that it may have, `secrets` texts that it must not hold.
    """

    key: str
    env: Mapping[str, str] = field(default_factory=dict)
    programs: tuple[str, ...] = ()
    secrets: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class MadeEnvironment:
    """What was made: bytes on the disk, and files of the commit whose change was not kept."""

    size: int
    dropped: tuple[str, ...]


Install = Callable[[Place, asyncio.Event], Awaitable[bool]]
"""Installs what a repository needs, until the event is set; says whether that went well."""


@dataclass(frozen=True, slots=True)
class Base:
    """What a run starts from: the branch, its commit and tree.

    `config` is the configuration by the id of its content, and `configured_at` the commit of the
    default branch that it is read from.
    """

    branch: str
    sha: str
    tree: str
    config: str
    configured_at: str = ""


@dataclass(frozen=True, slots=True)
class Strange:
    """The head of a stranger's pull request now, and where it left the base; empty if nowhere."""

    sha: str
    tree: str
    base_sha: str
    base_tree: str


@dataclass(frozen=True, slots=True)
class Candidate:
    """The tree that a turn left behind, with what the host refused to read (path, reason).

    `commit` is that tree on top of the head, on no branch yet; the head where nothing changed.
    """

    tree: str
    commit: str
    violations: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class CommitMessage:
    """What a checkpoint's commit says: its title, its trailers, and when it was made.

    The same says the same commit, so that a second try makes no other one. `sign_off` asks for the
    sign-off of its author.
    """

    title: str
    trailers: Mapping[str, Sequence[str]]
    at: datetime
    sign_off: bool = False


@dataclass(frozen=True, slots=True)
class HumanWork:
    """What people pushed to a run's branch since its head: the tip, its tree and who wrote it."""

    sha: str
    tree: str
    authors: tuple[str, ...]
    titles: tuple[str, ...]


class Difference(Protocol):
    """What changed between two commits: the files, and the patch, perhaps `cut`."""

    @property
    def files(self) -> tuple[Change, ...]:
        """The changed files."""

    @property
    def patch(self) -> str:
        """The patch, as `git diff` writes it."""

    @property
    def cut(self) -> bool:
        """Whether the patch is longer than was asked for."""


ConflictKind = Literal["content", "add/add", "modify/delete", "type", "mode", "rename"]
"""What keeps two versions of a path from being merged."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines of a file, counted from 1: none, before the line `start`, where `count` is 0.

    `text` holds the first of them, each cut.
    """

    start: int
    count: int
    text: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hunk:
    """One place where both sides changed the same lines, as it is in either."""

    ours: Lines
    theirs: Lines


@dataclass(frozen=True, slots=True)
class Conflict:
    """A path that cannot be merged, with the hunks where it is the content."""

    path: str
    kind: ConflictKind
    hunks: tuple[Hunk, ...]


class Git(Past, Protocol):
    """The work on a repository; every call may run twice."""

    async def begin(self, active: Collection[str]) -> None:
        """Clean up after a process that was killed; called once, before the work begins.

        What it left in the workspaces of the runs that are `active` is kept.
        """

    async def end(self) -> None:
        """Leave nothing behind that a next process would have to clean up."""

    async def upkeep(self) -> None:
        """Tidy what no run uses now, as far as there is something to do."""

    async def base(self, run: Run, branch: str) -> Base:
        """Bring the mirror up to date; say what `branch`, or the default branch, is now."""

    async def trusted(self, run: Run) -> bool:
        """Bring in the pull request that a run only checks; say whether its head is as trusted."""

    async def strange(self, run: Run) -> Strange:
        """Bring in the pull request that a run goes on from; say what its head is now."""

    async def config(self, run: Run, blob: str) -> str:
        """Read the configuration kept as `blob`; empty when there was none."""

    async def open(self, run: Run, commit: str, environment: str = "") -> Place:
        """Build a fresh workspace with the files of `commit`, on an environment by its key."""

    async def top(self, run: Run, commit: str) -> Sequence[str]:
        """List the names at the root of a commit."""

    async def ids(self, run: Run, commit: str, paths: Sequence[str]) -> Mapping[str, str]:
        """Return what stands at paths of a commit by id; what is absent is left out."""

    async def has_environment(self, run: Run, key: str) -> bool:
        """Say whether an environment is there; it then stays for as long as it is needed."""

    async def make_environment(
        self, run: Run, commit: str, recipe: Recipe, install: Install, *, stop: asyncio.Event
    ) -> MadeEnvironment | None:
        """Make an environment on the files of `commit`, unless somebody else does it meanwhile.

        None where `install` did not go well, or `stop` was set.
        """

    def place(self, run: Run) -> Place:
        """Say where the run's files are, built or not."""

    async def close(self, run: Run) -> None:
        """Throw the workspace away."""

    def is_open(self, run: Run) -> bool:
        """Say whether there is a workspace of the run, perhaps of a process that was killed."""

    async def too_large(self, run: Run) -> int:
        """Return once the workspace takes more of the disk than it may, with the bytes it takes."""

    async def take(self, run: Run, message: CommitMessage) -> Candidate:
        """Read from the file system what changed since the head, as a commit on no branch."""

    async def quarantine(self, run: Run, commit: str) -> None:
        """Keep a refused candidate on this machine; it is never pushed."""

    async def changes(self, run: Run, old: str, new: str) -> tuple[Change, ...]:
        """Compare two trees or commits."""

    async def leaks(
        self, run: Run, old: str, new: str, known: frozenset[str]
    ) -> tuple[Secret, ...]:
        """Find what looks like a secret in what `new` adds to `old`, or is one of `known`."""

    async def checkpoint(
        self, run: Run, tree: str, message: CommitMessage, joined: str | None = None
    ) -> str:
        """Commit `tree` on the run's head and move the local branch there; return the commit.

        `joined` is a further parent.
        """

    async def tree(self, run: Run, commit: str) -> str:
        """Return the tree of a commit."""

    async def push(self, run: Run) -> HumanWork | None:
        """Publish the head under a lease; when people pushed, leave it and say what they did."""

    async def human_work(self, run: Run) -> HumanWork | None:
        """Fetch the branch; say what people added on top of the head, or None."""

    async def commit(
        self, run: Run, tree: str, parents: Sequence[str], message: CommitMessage
    ) -> str:
        """Commit `tree` on top of some commits, on no branch; return the commit."""

    async def offer(self, run: Run, commit: str) -> str:
        """Let the remote have a commit that is on no branch, until `withdraw`; return its text."""

    async def withdraw(self, run: Run) -> None:
        """Take back what was offered."""

    async def published(self, run: Run, tree: str) -> str | None:
        """Fetch the branch; return its commit of `tree` on the head that was made for the run."""

    async def settle(self, run: Run, sha: str) -> None:
        """Move the local branch to a commit on the head, wherever an earlier try left it."""

    async def pushed_commits(self, run: Run, tip: str) -> tuple[Commit, ...]:
        """Read the commits of people up to `tip` that neither the head nor the base has."""

    async def adopt(self, run: Run, sha: str) -> None:
        """Move the local branch from the head to a commit on top of it."""

    async def restored(self, run: Run, target: str, globs: Sequence[str]) -> str:
        """Return the head's tree with what globs mean as it is in `target`."""

    async def without(self, run: Run, tree: str, paths: Collection[str]) -> str:
        """Return `tree` with some paths, and what is below them, as they are in the head."""

    async def touched(self, run: Run, old: str, new: str) -> Sequence[str]:
        """Name the paths in which two trees or commits differ."""

    async def holds(self, run: Run, commit: str) -> bool:
        """Whether the head has a commit in its history."""

    async def merged(self, run: Run, commit: str) -> str | tuple[Conflict, ...]:
        """Merge a commit into the head, in memory; return the tree, or what conflicts."""

    async def record(self, run: Run, events: Sequence[Mapping[str, Any]]) -> None:
        """Append events to the local ledger; those that it holds already are passed over."""

    async def recorded(self, run: Run) -> int | None:
        """Return the last sequence number in the local ledger, 0 when there is none.

        None before the run has a mirror.
        """

    async def publish(self, run: Run) -> None:
        """Push the ledger's ref, apart from the branch."""

    async def read(self, run: Run, commit: str, path: str) -> bytes | None:
        """Read one file of a commit; None when there is none.

        Raises Refused for one that is too large to be read.
        """

    async def paths(self, run: Run, commit: str) -> Sequence[str]:
        """List the files of a commit."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a person said to the agent at work; `id` names it for ever."""

    id: str
    by: str
    text: str


class Steering(Protocol):
    """What people say to an agent while it works."""

    async def next(self) -> Told:
        """Wait for the next message; each is given once, in the order in which they came."""

    async def ack(self, told: Told) -> None:
        """Say that the agent has been given a message; what is not, its next prompt tells it."""


class Unsteered:
    """Nobody says anything."""

    async def next(self) -> Told:
        """Wait for ever."""
        never: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        return await never

    async def ack(self, told: Told) -> None:
        """Nothing was said, so nothing is noted."""


class Progress(Protocol):
    """Takes in what must outlive this process, as soon as it is known; calls are cheap."""

    def session(self, session: str) -> None:
        """The agent's session has this name, by which a later turn can go on with it."""

    def usage(self, usage: Mapping[str, Any]) -> None:
        """The turn has used this so far, in the words of `TurnReport.usage`."""


class Unwatched:
    """Nobody wants to know."""

    def session(self, session: str) -> None:
        """Forget it."""

    def usage(self, usage: Mapping[str, Any]) -> None:
        """Forget it."""


class Allowed(NamedTuple):
    """What a turn may use in all, from its beginning; None has no end."""

    usd: float | None
    tokens: int | None


class Purse(Protocol):
    """What a turn may use, which people may change while it goes on."""

    async def changed(self) -> Allowed:
        """Wait for the next change."""


class Sealed:
    """Nobody gives more."""

    async def changed(self) -> Allowed:
        """Wait for ever."""
        never: asyncio.Future[Allowed] = asyncio.get_running_loop().create_future()
        return await never


@dataclass(frozen=True, slots=True)
class TurnOrder:
    """One prompt to an agent, with its bounds in seconds and bytes of output.

    `session` is that of the same agent's last turn, "" where there is none to go on with.
    `allowance_usd` and `allowance_tokens` are what is left of the run's budget; None has no end,
    and `purse` tells when a person has changed that.
    """

    number: int
    agent: str
    prompt: str
    place: Place
    seconds: float
    log: Path
    config: Config
    session: str = ""
    allowance_usd: float | None = None
    allowance_tokens: int | None = None
    steer: Steering = field(default_factory=Unsteered)
    progress: Progress = field(default_factory=Unwatched)
    purse: Purse = field(default_factory=Sealed)


@dataclass(frozen=True, slots=True)
class TurnReport:
    """How a turn ended: `ended`, `failed` (with `reason`), `stopped` on request, or `budget`.

    With `budget` the allowance was used up in mid-turn. `session` is what a next turn of the same
    agent can go on with. `usage` is plain data: requests, input_tokens, output_tokens,
    cached_tokens, cache_write_tokens, usd, and unpriced, the models whose price is not known.
    `blocked` are the hosts that the agent wanted and was not let reach: host, port, program, at.
    """

    outcome: str
    reason: str
    summary: str
    seconds: float
    session: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    blocked: tuple[dict[str, Any], ...] = ()


class Agents(Protocol):
    """The programs that change a workspace."""

    def choose(self, named: str, config: Config) -> str:
        """Name the agent for a run; `UserError` when there is no such agent."""

    async def turn(self, order: TurnOrder, *, stop: asyncio.Event, output: Output) -> TurnReport:
        """Give an agent one prompt; return when it and all that it started has ended."""


@dataclass(frozen=True, slots=True)
class Check:
    """A command to run on a checkpoint, with its bound in seconds."""

    name: str
    run: str
    report: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Prepared:
    """The environment of a commit, by its key: "" where it needs none."""

    key: str = ""


@dataclass(frozen=True, slots=True)
class Unprepared:
    """Why a commit has no environment, and what to do next; `log` is the end of what was printed.

    `own` says that it is the run's own change that asks for it.
    """

    reason: str
    next_step: str
    log: str = ""
    own: bool = False


class Environments(Protocol):
    """What agents and checks work on, beside a repository's files: its dependencies."""

    async def prepare(
        self,
        run: Run,
        commit: str,
        config: Config,
        *,
        stop: asyncio.Event,
        output: Output,
        begin: Callable[[], Awaitable[None]],
    ) -> Prepared | Unprepared | None:
        """Find the environment of a commit, or make it; None where `stop` was set meanwhile.

        `begin` is called before it is made, which takes its time.
        """


OUTPUT_CUT = "The output is cut: this is its end."
"""What the text of a check's result begins with where it is not all of it."""


class Checks(Protocol):
    """The commands that say whether a checkpoint is good."""

    @property
    def reads(self) -> frozenset[str]:
        """The files, by path, that `detect` may want to read."""

    def detect(self, paths: Sequence[str], read: Callable[[str], bytes | None]) -> Sequence[Check]:
        """Find the checks of a repository that names none."""

    async def run(
        self, check: Check, place: Place, *, log: Path, stop: asyncio.Event, output: Output
    ) -> dict[str, Any]:
        """Run one check; return its result as plain data.

        The keys are name, conclusion, summary, text, annotations and seconds.
        """


@dataclass(frozen=True, slots=True)
class Merged:
    """The commit as which a head landed on its base."""

    sha: str


@dataclass(frozen=True, slots=True)
class NotMerged:
    """Why a head did not land, and what to do next; `moved` says that the head is another now."""

    reason: str
    next_step: str


@dataclass(frozen=True, slots=True)
class Later:
    """It is merged by GitHub when the time has come, or can be once something is there."""

    reason: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run begins in, as GitHub tells it: see `policies.facts.PreflightFacts`."""

    rules: BranchRules = field(default_factory=BranchRules)
    base: tuple[Reported, ...] = ()
    closed: tuple[str, ...] = ()
    permissions: Mapping[str, str] | None = None
    archived: bool = False


class Forge(Protocol):
    """Where a run is shown and merged: GitHub, or a local repository."""

    async def refresh(self, run: Run) -> Run:
        """Return the run with the repository's present name and address."""

    async def show(self, run: Run, results: Sequence[Mapping[str, Any]]) -> int | None:
        """Draw what should stand there now; return the pull request's number, if there is one."""

    async def labels(self, run: Run) -> Sequence[str]:
        """Return the labels of the run's pull request, none where there is no such thing."""

    async def rules(self, run: Run) -> BranchRules:
        """Ask what the rules of the run's base are now."""

    async def surroundings(self, run: Run) -> Surroundings:
        """Ask what speaks for and against the beginning of a run."""

    async def signatures(self, run: Run) -> tuple[str, ...]:
        """Ask which branches that the run's commits go to take only signed ones; lately will do."""

    async def reported(self, run: Run, sha: str, names: Collection[str]) -> tuple[Reported, ...]:
        """Ask what checks of these names, by whomever, say of a commit now."""

    async def pushers(self, run: Run, tip: str) -> tuple[str, ...]:
        """Name who moved the run's branch from its own commits on to `tip`, the last one first.

        Empty where that is not told; an empty name among them for whom nobody knows.
        """

    async def sign(self, run: Run, tree: str, parents: Sequence[str], text: str) -> bool:
        """Have a commit made and signed, and the branch moved to it; False where that moved."""

    async def merge(
        self, run: Run, approval: Approval, method: Method, rules: BranchRules, body: str = ""
    ) -> Merged | NotMerged | Later:
        """Merge exactly the approved head, as the base's rules take it; merged before is merged.

        `body` is what the new commit says below its title, where that is not left to GitHub.
        """
