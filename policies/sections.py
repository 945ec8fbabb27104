"""The sections of a repository's configuration: each setting with its default and its reason.

The descriptions are what the schema and the reference say, word for word.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import PurePosixPath
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    WithJsonSchema,
    model_validator,
)

from policies.cron import parse_cron
from policies.facts import Method, Role
from policies.gitleaks import kinds
from policies.globs import problem_of
from policies.verdict import code
from policies.who import COMMANDS_DEFAULT, floor
from policies.windows import problem_of as problem_of_window
from policies.windows import read_moment

# How many entries a list may have. Each is read, matched or drawn on every run, and a person
# must be able to read the file.
MAX_ENTRIES = 20
MAX_GLOBS = 100
# GitHub's limit of an issue's label.
MAX_LABEL = 50
# A command or request longer than this belongs in a file of the repository.
MAX_TEXT = 4000
MAX_NAME = 40
# DNS takes no longer name; the rest is a port.
MAX_HOST = 253 + len(":65535")
MAX_PATH = 200
# GitHub cuts the name of a check run here, and the context of a status.
MAX_OUTSIDE = 255

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]*")
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[1-9][0-9]{0,4})?")
_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,38}")
_TEAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# The rules, and a set-up that failed, are shown as checks of these names.
_RESERVED_CHECKS = frozenset({"rules", "environment"})
# git-check-ref-format(1), the rules that a branch's name can break.
_BAD_REF = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^[/-]|[/.]$|(^|/)\.|\.lock(/|$)")


class Section(BaseModel):
    """What every section is: fixed once read, and nothing in it that is not known."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _name(value: str) -> str:
    if len(value) > MAX_NAME or not _NAME.fullmatch(value) or value != value.strip():
        raise ValueError(
            f"A name is at most {MAX_NAME} letters, digits, blanks, dots, hyphens and underscores,"
            " and begins with a letter or digit; choose such a name."
        )
    return value


def _check_name(value: str) -> str:
    if value.casefold() in _RESERVED_CHECKS:
        raise ValueError(f"`{value}` is the name of a check of our own; choose another name.")
    return _name(value)


def _outside(value: str) -> str:
    if not value.strip() or value != value.strip() or not value.isprintable():
        raise ValueError("Write the check's name as the pull request shows it, as in `ci / test`.")
    return value


def _line(value: str) -> str:
    if not value.strip() or "\x00" in value:
        raise ValueError("This is empty or not text; write what is to be done.")
    return value


def _glob(value: str) -> str:
    if problem := problem_of(value):
        raise ValueError(problem)
    return value


def _closed(value: str) -> str:
    if value.startswith("!"):
        raise ValueError("Here a glob opens nothing; take the `!` away, or the whole line.")
    return _glob(value)


def _allowed(value: tuple[str, ...] | None) -> tuple[str, ...] | None:
    if value == ():
        raise ValueError("An empty list would allow nothing; add a glob, or leave `allowed` out.")
    return value


def _inside(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or not path.parts or not value.isprintable():
        raise ValueError("The report is a file inside the repository; write a path relative to it.")
    return value


def _cron(value: str) -> str:
    parse_cron(value)
    return value


def _moment(value: str) -> str:
    read_moment(value)
    return value.strip()


def _timezone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(
            "There is no time zone of this name; write it as in `Europe/Berlin` or `UTC`."
        ) from None
    return value


def _label(value: str) -> str:
    if not value.strip() or not value.isprintable() or "," in value:
        raise ValueError("A label is a line of text without commas; write its name.")
    return value


def _branch(value: str) -> str:
    if _BAD_REF.search(value) or value in {"", "@"}:
        raise ValueError("Git takes no branch of this name; write the branch's name as git does.")
    return value


def _command(value: str) -> str:
    if value not in COMMANDS_DEFAULT:
        near = get_close_matches(value, COMMANDS_DEFAULT, n=1)
        hint = f"did you mean `{near[0]}`?" if near else "`/help` lists what is."
        raise ValueError(f"{code(value)} is no command; {hint}")
    return value


def _who(value: Mapping[str, Role | Who]) -> Mapping[str, Role | Who]:
    for command, who in value.items():
        role = who.role if isinstance(who, Who) else who
        if role is not None and not role.at_least(floor(command)):
            raise ValueError(
                f"`{command}` cannot be opened to the role {role}, which strangers may have;"
                f" ask for {floor(command)} or more."
            )
    return value


def _kind(value: str) -> str:
    known = kinds()
    if value not in known:
        near = get_close_matches(value, known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else "a refusal says the kind."
        raise ValueError(f"{code(value)} is no kind of secret in gitleaks' rules; {hint}")
    return value


def _host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise ValueError("A host is written `example.org`, `example.org:8443` or `*.example.org`.")
    return value.lower()


def _variable(value: str) -> str:
    if not _VARIABLE.fullmatch(value):
        raise ValueError("A secret has the name of an environment variable, as in `INDEX_TOKEN`.")
    return value


def _path(value: str) -> str:
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or not path.parts or not value.isprintable():
        raise ValueError("This is no path inside the repository; write it relative to the root.")
    return str(path)


def _team(value: str) -> str:
    if not _TEAM.fullmatch(value):
        raise ValueError(
            "A team is written as in its address, without the organisation: `security`."
        )
    return value.lower()


def login_of(value: str) -> str:
    """Read a person's name on GitHub, with or without an `@`; ValueError where it is none."""
    name = value.removeprefix("@")
    if not _LOGIN.fullmatch(name):
        raise ValueError("A person is written by the name on GitHub, as in `ada`; write that.")
    return name.lower()


def _who_kind(value: object) -> str:
    return "role" if isinstance(value, str) else "people"


def _run_kind(value: object) -> str:
    return "word" if isinstance(value, str) else "list"


_NAME_IN_SCHEMA = WithJsonSchema(
    {"type": "string", "pattern": f"^{_NAME.pattern}$", "maxLength": MAX_NAME}
)
"""What an editor can see of `_name`."""

Command = Annotated[str, AfterValidator(_command)]
Label = Annotated[str, Field(max_length=MAX_LABEL), AfterValidator(_label)]
Name = Annotated[str, AfterValidator(_name)]
Outside = Annotated[str, Field(max_length=MAX_OUTSIDE), AfterValidator(_outside)]
Line = Annotated[str, Field(max_length=MAX_TEXT), AfterValidator(_line)]
Glob = Annotated[str, AfterValidator(_glob)]
Closed = Annotated[str, AfterValidator(_closed)]
Kind = Annotated[str, Field(max_length=MAX_HOST), AfterValidator(_kind)]
Host = Annotated[str, Field(max_length=MAX_HOST), AfterValidator(_host)]
Variable = Annotated[str, Field(max_length=MAX_NAME), AfterValidator(_variable)]
Team = Annotated[str, AfterValidator(_team)]
Login = Annotated[str, AfterValidator(login_of)]
Inside = Annotated[str, Field(max_length=MAX_PATH), AfterValidator(_path)]
SetupRun = Annotated[
    Annotated[Literal["auto", "none"], Tag("word")]
    | Annotated[tuple[Line, ...], Field(max_length=MAX_ENTRIES), Tag("list")],
    Discriminator(_run_kind),
]


class Agent(Section):
    """An agent: a program that changes the files in front of it."""

    command: Line = Field(
        description="The shell command that does the work. It runs in a sandbox, in a copy of"
        " the repository, with the request on its standard input."
    )
    speaks: Literal["text", "acp"] = Field(
        default="text",
        description="What the command speaks: `acp` for the Agent Client Protocol, which more and"
        " more agents know, and else plain text.",
    )


class Check(Section):
    """A check: a command that says whether a checkpoint is good."""

    name: Annotated[str, AfterValidator(_check_name), _NAME_IN_SCHEMA] = Field(
        description="The check's name, as the pull request shows it: letters, digits, blanks,"
        " dots, hyphens and underscores, 40 at most."
    )
    run: Line = Field(
        description="The shell command. It runs in the sandbox, in the repository's root; it"
        " passes when it exits with 0."
    )
    report: Annotated[str, Field(max_length=200), AfterValidator(_inside)] | None = Field(
        default=None,
        description="A file that the command writes, as JUnit XML or SARIF, from which failures"
        " become annotations on their lines.",
    )
    minutes: int = Field(
        default=10,
        ge=1,
        le=360,
        description="How long the command may take, in minutes. Ten, since people wait for it;"
        " six hours at most, as a job of GitHub Actions may.",
    )


class AgentPaths(Section):
    """What one agent may change: less than others, never more."""

    protected: Annotated[tuple[Closed, ...], Field(max_length=MAX_GLOBS)] = Field(
        default=(), description="Paths that this agent may not change, beside what no agent may."
    )
    allowed: Annotated[
        tuple[Glob, ...] | None, Field(max_length=MAX_GLOBS), AfterValidator(_allowed)
    ] = Field(
        default=None,
        description="Where given, this agent may change these paths and no others, as far as all"
        " agents may.",
    )


class Paths(Section):
    """What agents may change, by globs as in `.gitignore`, of which the last match decides."""

    protected: Annotated[tuple[Glob, ...], Field(max_length=MAX_GLOBS)] = Field(
        default=(),
        description="Paths that no agent may change, added to the protected defaults: lock files,"
        " what instructs agents (as `AGENTS.md`), folders whose names begin with a dot, pipelines"
        " and what git and editors read. A glob that begins with `!` (in quotes) opens a default"
        " instead, as `!uv.lock` does; workflows, CODEOWNERS and this file stay closed.",
    )
    allowed: Annotated[
        tuple[Glob, ...] | None, Field(max_length=MAX_GLOBS), AfterValidator(_allowed)
    ] = Field(
        default=None,
        description="Where given, agents may change these paths and no others. Left out,"
        " everything that is not protected may be changed.",
    )
    agents: Annotated[Mapping[Name, AgentPaths], Field(max_length=MAX_ENTRIES)] = Field(
        default_factory=dict,
        description="What single agents, by name, may change of that: `protected` and `allowed`"
        " as above, by which an agent may change less and never more.",
    )


class Secrets(Section):
    """What looks like a secret, by the rules of gitleaks, is refused before it is pushed.

    A secret of the server itself is refused in any case.
    """

    allowed: Annotated[tuple[Glob, ...], Field(max_length=MAX_GLOBS)] = Field(
        default=(),
        description="Paths in which what looks like a secret may stand, such as made-up ones in"
        " `tests/fixtures/**`.",
    )
    ignored: Annotated[tuple[Kind, ...], Field(max_length=MAX_GLOBS)] = Field(
        default=(),
        description="Kinds that are not looked for, by their names in gitleaks' rules, as a refusal"
        " says them: `generic-api-key` is the one that is wrong most often.",
    )
    comments: bool = Field(
        default=False,
        description="Whether a line that says `gitleaks:allow` may hold what looks like a secret."
        " An agent can write that as well, so it takes a repository that wants it.",
    )


class Who(Section):
    """Who may give a command: whoever has the role, and beside them those who are named.

    Those named need a role as well, since GitHub gives them the repository: triage to start or
    steer a run, write to decide on one.
    """

    role: Role | None = Field(
        default=None,
        description="The least role; left out, that of a preset, or else the command's default.",
    )
    teams: Annotated[tuple[Team, ...], Field(max_length=MAX_ENTRIES)] = Field(
        default=(),
        description="Teams of the organisation, by the name in their address (`security`, without"
        " `@` and the organisation), whose members may give it as well. The App must be allowed to"
        " read members.",
    )
    users: Annotated[tuple[Login, ...], Field(max_length=MAX_ENTRIES)] = Field(
        default=(), description="People who may give it as well, by their names on GitHub."
    )
    author: bool = Field(
        default=False, description="Whether who opened the issue may give it as well."
    )


MayGive = Annotated[
    Annotated[Role, Tag("role")] | Annotated[Who, Tag("people")], Discriminator(_who_kind)
]


class Commands(Section):
    """Slash commands: how they are written, and who may give them."""

    aliases: bool = Field(
        default=True,
        description="Whether `/approve` and its like work without `/orchestrate` before them in"
        " the threads of a run. Turn it off where another bot answers to the same words.",
    )
    who: Annotated[Mapping[Command, MayGive], AfterValidator(_who)] = Field(
        default_factory=dict,
        json_schema_extra={"propertyNames": {"enum": list(COMMANDS_DEFAULT)}},
        description="The least role that each command needs, where it is not the default, or"
        " `role`, `teams`, `users` and `author`, of which one is enough. By default those that"
        " start or steer a run need write, those that decide (approve, reject, override, trust,"
        " delegate) maintain, and those that only show (status, plan, diff, help) read."
        " Commands that start or steer a run need triage at least, since anybody may read a"
        " public repository; those that decide need write, as merging on GitHub does.",
    )
    delegation: bool = Field(
        default=True,
        description="Whether `/delegate @USER` works: on one run, somebody may then give the"
        " commands that the one who delegated may give.",
    )

    def least_role(self, command: str) -> Role | None:
        """Return the role that `command` needs here, None for a command that is not known."""
        return self.people(command).role or COMMANDS_DEFAULT.get(command)

    def people(self, command: str) -> Who:
        """Return what is said of who may give `command`; nobody but by role where nothing is."""
        said = self.who.get(command)
        return said if isinstance(said, Who) else Who(role=said)


class Approval(Section):
    """What it takes to merge. Who may approve is the role of `approve` in `commands: who:`.

    It counts by what GitHub says of each of them when the last one approves.
    """

    required: int = Field(
        default=1,
        ge=1,
        le=6,
        description="How many people must approve the head before it is merged. Six at most, as"
        " GitHub's own branch rules take.",
    )
    teams: Annotated[tuple[Team, ...], Field(max_length=MAX_ENTRIES)] = Field(
        default=(),
        description="Teams of the organisation, by the name in their address: of each somebody must"
        " be among those who approve. The App must be allowed to read members.",
    )
    code_owners: bool = Field(
        default=False,
        description="Whether each changed path must be approved by one of its owners in the base's"
        " `CODEOWNERS`, where it has any.",
    )
    requester: Literal["never", "if-alone", "always"] = Field(
        default="if-alone",
        description="Whether the one who asked for the change, or an author of it, may approve"
        " it: never, always, or only where nobody else has the role (so that a repository of"
        " one person can work).",
    )


class Limits(Section):
    """Where a run stops and asks."""

    turns: int = Field(
        default=3,
        ge=1,
        le=20,
        description="How often an agent may try before the run is blocked. Three: one that has"
        " not come to green checks by then seldom does.",
    )
    minutes: int = Field(
        default=30,
        ge=1,
        le=1440,
        description="How long one turn of an agent may take, in minutes. Half an hour is beyond"
        " what most need; a day at most.",
    )
    usd: float = Field(
        default=5.0,
        ge=0.01,
        le=10_000,
        allow_inf_nan=False,
        description="What the models may cost one run, in US dollars. Five: most requests take one"
        " or two, and one that takes more has lost its way as often as not. `/resume --budget +2`"
        " lets a run go on.",
    )
    tokens: int = Field(
        default=20_000_000,
        ge=1_000,
        le=10_000_000_000,
        description="How many tokens one run may read and write. Twenty million, which is more"
        " than five dollars buy: it bounds the models that cost nothing, such as one of your own.",
    )
    files: int = Field(
        default=300,
        ge=1,
        le=10_000,
        description="How many files one checkpoint may change. More than 300 nobody reads, and"
        " GitHub's list of a comparison ends there.",
    )
    megabytes: int = Field(
        default=10,
        ge=1,
        le=100,
        description="How much new content one checkpoint may hold, in megabytes (a changed file"
        " counts whole). Ten, since it stays in the history for ever; GitHub refuses files"
        " over 100.",
    )
    lines: int = Field(
        default=20_000,
        ge=1,
        le=1_000_000,
        description="How many lines one checkpoint may add and take away, together. Twenty"
        " thousand: a review of more is a signature under what nobody read.",
    )
    binaries: int = Field(
        default=20,
        ge=0,
        le=10_000,
        description="How many binary files one checkpoint may add or change. Twenty, as a few"
        " pictures are: nobody sees in a review what is in them.",
    )
    dependencies: int = Field(
        default=10,
        ge=0,
        le=10_000,
        description="How many dependencies one checkpoint may bring that the repository did not"
        " name before, in the manifests and lock files of Python, npm, Cargo and Go. Ten, as one"
        " library with what it needs is: each is code of others that nobody here has read.",
    )
    runs_per_issue: int = Field(
        default=1,
        ge=1,
        le=10,
        description="How many runs may be at work for one issue at a time. One, so that two do"
        " not do the same work twice.",
    )


class Daily(Section):
    """What may be spent in a day, which begins at 0:00 UTC. What is left out has no such limit."""

    usd: Annotated[float, Field(ge=0.01, le=100_000, allow_inf_nan=False)] | None = Field(
        default=None, description="What the models may cost, in US dollars."
    )
    tokens: Annotated[int, Field(ge=1_000, le=10**12)] | None = Field(
        default=None, description="How many tokens may be read and written."
    )
    minutes: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="How many minutes agents may work, all of them together."
    )


class Budget(Section):
    """What a day may cost. Where it is used up, no run starts and no turn, until the next day.

    Turns that are under way at the same time may go over it by what each of them takes.
    """

    repository: Daily = Field(
        default=Daily(usd=50.0),
        description="What all runs of the repository may spend in a day; fifty dollars where it is"
        " left out, which is ten runs that use all that one may.",
    )
    person: Daily = Field(
        default=Daily(usd=25.0),
        description="What the runs that one person asked for may spend in a day; twenty-five"
        " dollars where it is left out, so that two must go astray before everybody waits.",
    )


class Preflight(Section):
    """What a run asks before it spends money, where it could only tell."""

    red_base: Literal["ask", "tell"] = Field(
        default="ask",
        description="Where checks are red on the base: whether the run stops and asks, or only says"
        " so. It asks by default, since it may fail by what others broke.",
    )
    closed_paths: Literal["ask", "tell"] = Field(
        default="ask",
        description="Where the request names a path that agents may not change: whether the run"
        " stops and asks, or only says so.",
    )


class Merge(Section):
    """How an approved run is merged."""

    method: Method = Field(
        default="merge",
        description="GitHub's method. A merge commit by default: it keeps the very commits that"
        " were checked and approved.",
    )
    checks: Annotated[tuple[Outside, ...], Field(max_length=MAX_ENTRIES)] = Field(
        default=(),
        description="The repository's own checks on GitHub, by the names of their check runs or"
        " commit statuses, that must be green on the head. Those that the base's branch rules ask"
        " for are waited for unnamed.",
    )


class Hold(Section):
    """What keeps a pull request from being merged, beside `/hold`."""

    labels: Annotated[tuple[Label, ...], Field(max_length=MAX_ENTRIES)] = Field(
        default=("do-not-merge",),
        description="Labels that keep a pull request from being merged by the bot as long as they"
        " are on it. One by default; an empty list for none.",
    )


class Freeze(Section):
    """A time in which nothing is merged.

    Both ends are written alike: times of day (`"22:00"`), times of the week (`"fri 16:00"`), or
    dates (`"2026-12-23 18:00"`), in quotes. The end is the moment from which it is merged again.
    """

    name: Name = Field(description="What it is for, as a refusal names it.")
    start: Annotated[str, AfterValidator(_moment)] = Field(description="From when on.")
    end: Annotated[str, AfterValidator(_moment)] = Field(description="Until when.")
    timezone: Annotated[str, AfterValidator(_timezone)] = Field(
        default="UTC",
        description="The time zone of both ends, by its IANA name. UTC, which has no hour twice"
        " and none missing.",
    )

    @model_validator(mode="after")
    def _is_a_stretch(self) -> Freeze:
        if problem := problem_of_window(read_moment(self.start), read_moment(self.end)):
            raise ValueError(problem)
        return self


class Setup(Section):
    """How what the repository needs is installed, before agents and checks work on it.

    It runs once for the lock files, in the sandbox; what it made is then shared, read-only, by all
    runs. The operator bounds the hosts (`ORCHESTRATE_SETUP_HOSTS`) and gives the secrets.
    """

    run: SetupRun = Field(
        default="auto",
        description="The shell commands, run one after another in the repository's root; `auto`"
        " to find them by requirements and the lock files of uv, poetry, npm, pnpm, cargo and go;"
        " or `none`.",
    )
    network: Annotated[tuple[Host, ...], Field(max_length=MAX_ENTRIES)] = Field(
        default=(),
        description="Hosts that the commands reach, beside those that the server gives where lock"
        " files are found: `host`, `host:port` or `*.host`. The server must allow each.",
    )
    secrets: Annotated[tuple[Variable, ...], Field(max_length=MAX_ENTRIES)] = Field(
        default=(),
        description="Names of values that the server keeps for this repository; the commands, and"
        " nothing else, have them as environment variables.",
    )
    minutes: int = Field(
        default=20,
        ge=1,
        le=360,
        description="How long the commands may take, together, in minutes. Twenty: they run once"
        " for many runs; six hours at most, as a job of GitHub Actions may.",
    )
    files: Annotated[tuple[Inside, ...], Field(max_length=MAX_ENTRIES)] = Field(
        default=(),
        description="Files and folders beside the lock files after whose change the commands run"
        " again.",
    )


class Schedule(Section):
    """A run that starts by the clock."""

    name: Name = Field(description="The schedule's name, unique in the file.")
    cron: Annotated[str, AfterValidator(_cron)] = Field(
        description="When, as five fields of crontab(5): minute, hour, day of the month, month,"
        " day of the week (0 and 7 are Sunday)."
    )
    timezone: Annotated[str, AfterValidator(_timezone)] = Field(
        default="UTC",
        description="The time zone that the fields are read in, by its IANA name. UTC, which has"
        " no hour twice and none missing.",
    )
    request: Line = Field(description="What is to be done, as one would ask in a comment.")
    agent: Name | None = Field(
        default=None, description="The agent that does it; left out, the default agent."
    )


Branch = Annotated[str, Field(max_length=200), AfterValidator(_branch)]
