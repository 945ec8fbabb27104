"""From what arrives to who handles it.

The router reads an arrival, finds the commands in it, asks the policy whether the person may give
them, and calls the handler of that name. Every way to steer a run (comment, review, label, button,
command line) becomes an `Order` and passes the same rule, which fails closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol
from weakref import WeakValueDictionary

import structlog

from bot.commands import Command, Misuse, Usage, parse
from bot.errors import ConfigError, Refused, TransientError, UserError
from bot.events import Event, Type
from bot.found import REVIEWS, comment_on, is_unedited, review_of, where
from bot.payloads import Arrival, RepositoryArrival, Where
from bot.pulls import runs_of_pull
from bot.runs.grounds import Grounds
from bot.runs.inforce import InForce
from bot.runs.model import Repository, Run
from bot.runs.ports import Base, Clock
from bot.runs.revisions import Kept
from bot.runs.store import Store
from bot.runs.transitions import TERMINAL
from bot.standing import Asked, author_of
from bot.threads import Comment, Issue, People, Threads
from policies.bounds import bounded
from policies.commands import may_command
from policies.config import Config
from policies.facts import CommandFacts, Person, Role
from policies.owners import Owned

log = structlog.get_logger()

LATE = timedelta(hours=1)
"""How much later than the next one a delivery may come and still be obeyed before it: GitHub's lag
by minutes, and what is asked for again after an outage is asked for in order."""

How = Literal["command", "review", "button", "cli"]


@dataclass(frozen=True, slots=True)
class Conversation:
    """The issue or pull request in which an order was given, as it stood then."""

    number: int
    title: str = ""
    body: str = ""
    author: str = ""
    is_pull: bool = False


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a person said, before anybody asked what it means.

    `cause` names it for ever; `seen` is the commit that the person had in front of them, and
    `place` the file and line, where GitHub says so; `comment` and `review_comment` are what is
    reacted to. `found` says that no webhook told it: it may have been answered long ago.
    `replies` are what the bot wrote there around that time.
    """

    cause: str
    login: str
    at: datetime
    how: How
    repository: Repository
    conversation: Conversation
    url: str = ""
    seen: str = ""
    place: str = ""
    comment: int | None = None
    review_comment: int | None = None
    found: bool = False
    replies: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Order:
    """A command that somebody may give, with what its handler needs to know.

    `others_can` says whether anybody else could approve the run.
    """

    command: Command
    spoken: Spoken
    person: Person
    config: Config
    run: Run | None
    others_can: bool = True

    @property
    def cause(self) -> str:
        """Name the order for ever: the same cause is obeyed once."""
        return f"{self.spoken.cause}:{self.command.line}"

    def required_run(self) -> Run:
        """Return the run that the order is about; `UserError` when there is none."""
        if self.run is None:
            raise UserError(
                "There is no run in this conversation; "
                "`/orchestrate REQUEST` on an issue starts one."
            )
        return self.run

    def event(self, desk: Desk, kind: Type, data: dict[str, Any]) -> Event:
        """Make the event that obeys this order."""
        by = self.person.login
        return Event(id=self.cause, at=desk.clock(), actor=by, type=kind, data=data)

    async def record(self, desk: Desk, run: Run, kind: Type, data: dict[str, Any]) -> None:
        """Let `kind` happen to a run; `UserError` when it cannot in the run's state."""
        event = self.event(desk, kind, data)
        await desk.store.append(run.id, lambda _: [event])


@dataclass(frozen=True, slots=True)
class Before:
    """What people said before, each with its time, and what the bot wrote meanwhile."""

    arrivals: tuple[tuple[datetime, Arrival], ...] = ()
    replies: tuple[str, ...] = ()


class Repositories(Protocol):
    """What handlers ask of the repositories themselves."""

    async def policy(self, repository: Repository) -> Config:
        """Read the configuration that holds now: while the newest is wrong, the last good one.

        `ConfigError` says what is wrong where there never was a good one.
        """

    async def in_force(self, repository: Repository) -> InForce:
        """Read the configuration that holds now, and what is wrong with the newest."""

    async def grounds(self, run: Run, config: Config) -> Grounds | None:
        """Say what the policy `config` of a run is made of; None where git has another by now."""

    async def is_configured(self, repository: Repository) -> bool:
        """Say whether a repository has a configuration, its own or its organisation's."""

    def organisation_changed(self, repository: Repository) -> None:
        """Take in that somebody changed what a repository's organisation says for all."""

    async def learn_schedules(self, repository: Repository) -> None:
        """Keep the schedules that the configuration on the default branch names now."""

    async def owners(self, run: Run) -> tuple[Owned, ...]:
        """Say whose the paths are that a run changes, by the base's CODEOWNERS as it is now."""

    async def differences(self, run: Run, old: str, new: str) -> str:
        """Describe in Markdown what changed between two commits of a run."""

    async def restored(self, run: Run, target: str, globs: Sequence[str]) -> str:
        """Return the head's tree with what globs mean as it is in the tree `target`."""

    async def passing(self, run: Run) -> Kept:
        """Take out of the refused candidate what breaks a rule; `UserError` says why not."""

    async def pushed(self, run: Run) -> str:
        """Return the commit that people pushed on top of the head, as it is now, or nothing."""

    async def newer_base(self, run: Run) -> Base | None:
        """Return the base as it is now, where it merges into the head; None where it is there.

        `UserError` says what conflicts.
        """


async def _nobody(_: Sequence[Repository]) -> None:
    """Propose nothing."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What every handler is given. `bot` is the App's own login.

    `bounds` is what no repository's configuration can loosen. `invite` takes in repositories that
    the App came to, which may want a first configuration.
    """

    people: People
    threads: Threads
    store: Store
    repositories: Repositories
    choose_agent: Callable[[str, Config], str]
    clock: Clock
    bot: str
    usages: Sequence[Usage] = ()
    bounds: Config = field(default_factory=Config)
    invite: Callable[[Sequence[Repository]], Awaitable[None]] = _nobody

    async def runs_of_pull(self, repository: Repository, number: int) -> list[Run]:
        """Return the runs of a pull request, recorded to be theirs or not yet."""
        return await runs_of_pull(self.store, self.threads, self.clock, repository, number)


Handle = Callable[[Desk, Order], Awaitable[str | None]]
"""Obeys an order; returns what is to be answered beside the run's status comment, if anything."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A slash command: how it is written, and who obeys it."""

    usage: Usage
    handle: Handle


On = Callable[["Router", Arrival], Awaitable[None]]
"""Takes in an arrival that is no comment."""


@dataclass(slots=True)
class Router:
    """Brings arrivals to their handlers; `events` maps the type of an arrival to who takes it."""

    desk: Desk
    features: Mapping[str, Feature]
    events: Mapping[type[Arrival], On] = field(default_factory=dict)
    _answering: WeakValueDictionary[tuple[int, str], asyncio.Lock] = field(
        default_factory=WeakValueDictionary, init=False
    )

    async def take(self, arrival: Arrival) -> None:
        """Take in one arrival. `TransientError` asks for it to be brought again."""
        handler = self.events.get(type(arrival))
        if handler is not None:
            await handler(self, await self._as_named_now(arrival))

    async def _as_named_now(self, arrival: Arrival) -> Arrival:
        """Tell a repository by its present name: a late delivery tells the one it had."""
        if not isinstance(arrival, RepositoryArrival):
            return arrival
        told = repository_of(arrival.where)
        known = await self.desk.store.repository(told.id)
        if known is None or known.identity() == told.identity() or not known.installation:
            return arrival
        try:
            now = await self.desk.threads.repository(told.id, told.installation)
        except Refused:
            now = known  # What arrived came through an installation that it has left.
        return arrival.model_copy(update={"where": where(now)})

    async def hear(self, spoken: Spoken, text: str, *, besides: Collection[str] = ()) -> None:
        """Obey the commands in what a person said, but for those of the verbs `besides`."""
        found = [each for each in parse(text, self.desk.usages) if each.verb not in besides]
        if not found:
            return
        run = await self.run_of(spoken)
        if not run and all(each.bare for each in found):
            return
        # Each is a round trip to GitHub, and neither needs the other.
        config, before = await asyncio.gather(
            self.policy(spoken.repository), self._said_before(spoken, run)
        )
        meant = [each for each in found if _is_meant(each, run, config)]
        if not meant or await self._are_answered(spoken, meant):
            return
        # Beside the work, which need not wait for a round trip to GitHub.
        acknowledging = asyncio.create_task(self._acknowledge(spoken))
        try:
            await self._answer_all(await self._caught_up(spoken, before), meant, config)
        finally:
            await asyncio.wait({acknowledging})
        await acknowledging

    async def _answer_all(
        self, spoken: Spoken, meant: Sequence[Command | Misuse], config: Config
    ) -> None:
        for each in meant:
            await self._answer(spoken, each, config)

    async def order(self, spoken: Spoken, command: Command, handle: Handle | None = None) -> None:
        """Obey one command that needs no parsing: a button, a review, or a label.

        `handle` takes the place of the command's own handler; the permission is the command's.
        """
        config = await self.policy(spoken.repository)
        await self._answer(spoken, command, config, handle)

    async def catch_up(self, spoken: Spoken) -> Spoken:
        """Obey first what people said here before, and whose delivery comes later or never.

        Returns it with what the bot said meanwhile: it may have been obeyed like this itself. What
        is found by looking is found in order.
        """
        run = await self.run_of(spoken)
        return await self._caught_up(spoken, await self._said_before(spoken, run))

    async def _caught_up(self, spoken: Spoken, before: Before) -> Spoken:
        for _, arrival in sorted(before.arrivals, key=lambda each: each[0]):
            try:
                await self.take(arrival)
            except TransientError:
                raise
            except Exception:
                # The boundary: its own delivery will be set aside for it, and this one goes on.
                log.exception("earlier command not obeyed", cause=spoken.cause)
        return replace(spoken, replies=before.replies)

    async def _said_before(self, spoken: Spoken, run: Run | None) -> Before:
        """Ask what was said here in the last hour; what is found by looking is found in order."""
        if spoken.found:
            return Before(replies=spoken.replies)
        comments, reviews = await asyncio.gather(
            self.desk.threads.comments_since(
                spoken.repository, spoken.conversation.number, spoken.at - LATE
            ),
            self._reviews_before(spoken, run),
        )
        ours = tuple(each.body for each in comments if each.author == self.desk.bot)
        return Before((*_arrivals(spoken, comments), *reviews), ours)

    async def _reviews_before(
        self, spoken: Spoken, run: Run | None
    ) -> list[tuple[datetime, Arrival]]:
        number = spoken.conversation.number
        if run is None or run.pull_request != number:
            return []
        listed = await self.desk.threads.reviews(spoken.repository, number)
        since, head = spoken.at - LATE, (run.head, run.branch)
        return [
            (each.submitted_at, review_of(spoken.repository, number, head, each))
            for each in listed
            if since <= each.submitted_at < spoken.at and each.state in REVIEWS
        ]

    async def run_of(self, spoken: Spoken) -> Run | None:
        """Find the run of a conversation: the one that goes on, else the newest."""
        return _run_among(await self._runs_of(spoken))

    async def _runs_of(self, spoken: Spoken) -> list[Run]:
        if spoken.conversation.is_pull:
            return await self.desk.runs_of_pull(spoken.repository, spoken.conversation.number)
        here = spoken.conversation.number
        return await self.desk.store.of_thread(spoken.repository.id, here)

    async def policy(self, repository: Repository) -> Config:
        """Read the repository's configuration; the safe defaults while it is wrong."""
        try:
            return await self.desk.repositories.policy(repository)
        except ConfigError as error:
            log.info("configuration is wrong", repository=repository.id, error=str(error))
            return bounded(Config(), self.desk.bounds)

    async def _acknowledge(self, spoken: Spoken) -> None:
        if spoken.comment is not None or spoken.review_comment is not None:
            await self.desk.threads.react(
                spoken.repository,
                comment=spoken.comment,
                review_comment=spoken.review_comment,
            )

    async def _answer(
        self,
        spoken: Spoken,
        found: Command | Misuse,
        config: Config,
        handle: Handle | None = None,
    ) -> None:
        cause = f"{spoken.cause}:{found.line}"
        lock = self._answering.setdefault((spoken.repository.id, cause), asyncio.Lock())
        # The webhook and whoever looks may bring the same words at the same moment.
        is_second = lock.locked()
        async with lock:
            runs = await self._runs_of(spoken)
            if not await self._is_answered(spoken, cause, runs, anew=is_second):
                await self._answer_alone(spoken, found, config, cause, _run_among(runs), handle)

    async def _answer_alone(
        self,
        spoken: Spoken,
        found: Command | Misuse,
        config: Config,
        cause: str,
        run: Run | None,
        handle: Handle | None,
    ) -> None:
        try:
            if isinstance(found, Misuse):
                raise UserError(found.sentence)
            said = await self.obey(spoken, found, run, config, handle)
            said = said or await self._stopped(spoken)
        except UserError as refusal:
            log.info("command refused", command=found.verb, cause=cause)
            said = f"@{spoken.login}: {refusal}"
        if said:
            await self.desk.threads.reply(
                spoken.repository, spoken.conversation.number, _reply(cause), said,
                since=spoken.at,
            )  # fmt: skip

    async def _stopped(self, spoken: Spoken) -> str | None:
        """Say what becomes of a command while an operator has stopped the work."""
        # Not as it was a moment ago: whoever stops all work and is asked next is told of it.
        stop = await self.desk.store.queue.stop_of(spoken.repository.installation, sure=True)
        run = await self.run_of(spoken) if stop else None
        if stop is None or run is None:
            return None
        what = "Your command is kept, and has its effect once the operator lets work go on."
        if run.work is None:
            what = f"Your command was obeyed: the run is {run.state.value.replace('_', ' ')}."
        why = f" {stop.reason}" if stop.reason else ""
        return f"@{spoken.login}: The operator of this server has stopped all work.{why} {what}"

    async def _are_answered(self, spoken: Spoken, meant: Sequence[Command | Misuse]) -> bool:
        """Say whether all that was found by looking was obeyed when its webhook came."""
        if not spoken.found:
            return False
        causes = [f"{spoken.cause}:{each.line}" for each in meant]
        runs = await self._runs_of(spoken)
        return all([await self._is_answered(spoken, cause, runs) for cause in causes])

    async def _is_answered(
        self, spoken: Spoken, cause: str, runs: Sequence[Run], *, anew: bool = False
    ) -> bool:
        """Say whether a command was obeyed, by whichever run, or answered in words.

        `anew` asks GitHub for the words even if what was said had been brought along.
        """
        for run in runs:
            if await self.desk.store.has(run.id, cause):
                return True
        if any(f"{_reply(cause)} " in each for each in spoken.replies):
            return True
        return (spoken.found or anew) and await self.desk.threads.replied(
            spoken.repository, spoken.conversation.number, _reply(cause), since=spoken.at
        )

    async def obey(
        self,
        spoken: Spoken,
        command: Command,
        run: Run | None,
        config: Config,
        handle: Handle | None = None,
    ) -> str | None:
        """Obey a command if the person may give it; `UserError` says why not."""
        author = await self._author(spoken, run, config, command.verb)
        asked = Asked(self.desk.threads, spoken.repository, command.verb, config, author)
        person = await asked.person(spoken.login, run)
        others_can = await self._others_can(spoken, run, config)
        requester = run.requester if run else None
        verdict = may_command(
            CommandFacts(
                command.verb,
                person,
                requester,
                others_can_approve=others_can,
                doubted=run is not None and run.is_part_unknown,
            ),
            config,
        )
        if not verdict.allowed:
            raise UserError(verdict.reason)
        order = Order(command, spoken, person, config, run, others_can)
        handle = handle or self.features[command.verb].handle
        return await handle(self.desk, order)

    async def _others_can(self, spoken: Spoken, run: Run | None, config: Config) -> bool:
        """Say whether somebody without a part in it could approve; asked where that decides."""
        if run is None:
            return True
        part = {run.requester, *run.authors}
        if run.is_part_unknown:
            part.add(spoken.login)
        if spoken.login.casefold() not in {each.casefold() for each in part}:
            return True
        least = config.commands.least_role("approve") or Role.MAINTAIN
        if await self.desk.people.others_with(spoken.repository, least, part):
            return True
        author = await self._author(spoken, run, config, "approve")
        asked = Asked(self.desk.threads, spoken.repository, "approve", config, author)
        return await asked.others_named(part)

    async def _author(self, spoken: Spoken, run: Run | None, config: Config, command: str) -> str:
        here = spoken.conversation
        return await author_of(self.desk.threads, run, here.number, here.author, config, command)


def _run_among(runs: Sequence[Run]) -> Run | None:
    """Return the run of a conversation: the one that goes on, else the newest."""
    going_on = [run for run in runs if run.state not in TERMINAL]
    return next(iter(going_on or runs), None)


def _is_meant(found: Command | Misuse, run: Run | None, config: Config) -> bool:
    """A bare verb is ours only in a conversation that belongs to a run."""
    return not found.bare or (run is not None and config.commands.aliases)


def _is_before(comment: Comment, spoken: Spoken) -> bool:
    """Say whether a comment was written before: of two in a second the number tells.

    Reviews are numbered apart, and come after the comments of their second.
    """
    if comment.created_at == spoken.at and spoken.comment is not None:
        return comment.id < spoken.comment
    return comment.created_at <= spoken.at


def _arrivals(spoken: Spoken, comments: Sequence[Comment]) -> list[tuple[datetime, Arrival]]:
    """Make arrivals of the comments that were written before, each with its time."""
    here = spoken.conversation
    issue = Issue(
        number=here.number,
        title=here.title,
        body=here.body,
        author=here.author,
        author_is_bot=False,
        is_pull=here.is_pull,
        state="",
        labels=(),
    )
    before = [each for each in comments if _is_before(each, spoken) and is_unedited(each)]
    return [(each.created_at, comment_on(spoken.repository, issue, each)) for each in before]


def _reply(cause: str) -> str:
    """Name the marker of what is answered to a command."""
    return f"reply:{cause}"


def repository_of(where: Where) -> Repository:
    """Make a repository from what an arrival says of it."""
    return Repository(
        id=where.repository,
        owner=where.owner,
        name=where.name,
        installation=where.installation,
        default_branch=where.default_branch,
        url=where.clone_url,
        size=where.size,
    )
