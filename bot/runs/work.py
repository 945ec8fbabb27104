"""The pieces of work of a run, one method each.

Each may run twice and looks before it leaps. The agent's turn is the exception: a turn that was
begun is never begun again. What it left is taken as it is, and the next turn is a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any

from bot.errors import TransientError
from bot.events import GHOST, ORCHESTRATE, Event, Type
from bot.redact import Redactor
from bot.runs import budget, texts
from bot.runs.day import forecast_of, spent_today
from bot.runs.dependencies import brought_by
from bot.runs.fold import BLOCKED_HOSTS
from bot.runs.grounds import Grounds, grounds_of
from bot.runs.inforce import (
    Above,
    InForce,
    NoOrganisations,
    Organisations,
    in_force,
    read_config,
)
from bot.runs.kept import kept_back
from bot.runs.landing import Landing, Ready, later, refused
from bot.runs.logs import write_log
from bot.runs.model import CheckpointKind, Run
from bot.runs.onto import gone, start_of
from bot.runs.ports import (
    Agents,
    Allowed,
    Base,
    Check,
    Checks,
    Clock,
    CommitMessage,
    Environments,
    Forge,
    Git,
    HumanWork,
    Later,
    Merged,
    Place,
    Prepared,
    TurnOrder,
    TurnReport,
    Unprepared,
)
from bot.runs.preflight import Preflight
from bot.runs.recorder import Recorder
from bot.runs.revisions import VIOLATIONS, Stuck, author_of, judged, with_base
from bot.runs.signing import Signing
from bot.runs.store import Store
from bot.runs.transitions import State, Work
from bot.runs.watch import WATCH_SECONDS, TurnWatch, patiently, stop_of
from bot.usage import Usage
from policies.bounds import bounded
from policies.config import Agent, Config, digest
from policies.config import Check as ConfiguredCheck
from policies.facts import Change, DaySpent
from policies.paths import instructions
from policies.sections import Budget, Daily
from policies.sign_off import check_sign_off
from policies.spending import check_day, left_today, warning
from policies.verdict import code

MINUTE_SECONDS = 60.0
"""The seconds of a configured minute."""

OWN_AGENT = "command"
"""The name of an agent that was given as a command with the request."""

NOT_YET = -1
"""The attempt of a check that has not ended once."""

RULES = "rules"
"""The name under which the rules' verdict is kept beside the checks' results."""

SETUP = "environment"
"""The name under which it is kept that what the run needs cannot be installed."""

BY_AGENT = frozenset({"agent", "interrupted", "partial", "kept"})
"""The kinds of checkpoints that an agent's turn left."""

SEEN = "Restored from a tree that was there before."
"""What the rules say of a tree that they have seen already."""

RESTORED = "restored"
"""The key of a check's result that came from a record: its output stands on GitHub alone, and
nothing is merged before this server has run the check as well."""

HOST_LENGTH = 253
"""Characters of a host's name, as DNS takes them, and of the program that wanted it."""

Made = list[tuple[str, dict[str, Any], str]]
"""What came of a piece of work: (type, data, actor) of each event."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What the work is done with; what `redactor` knows is kept from agents and logs.

    `bounds` is what no repository's configuration can loosen, and `organisations` what theirs say.
    """

    store: Store
    git: Git
    agents: Agents
    checks: Checks
    forge: Forge
    clock: Clock
    environments: Environments
    redactor: Redactor = field(default_factory=Redactor)
    bounds: Config = field(default_factory=Config)
    organisations: Organisations = field(default_factory=NoOrganisations)


class Worker:
    """Does the work that a run's state names.

    `on_output(run, line)` sees what agents and checks print, as they print it.
    """

    def __init__(self, ports: Ports, on_output: Callable[[str, str], None] | None = None) -> None:
        self._ports = ports
        self.preflight = Preflight(ports.store, ports.git, ports.forge, ports.clock)
        self._landing = Landing(ports.git, ports.forge, ports.clock)
        self._signing = Signing(ports.store, ports.git, ports.forge, ports.clock)
        self._on_output = on_output or (lambda _run, _line: None)
        self.halt = asyncio.Event()
        """Set when this process ends: agents and checks are stopped, their runs go on elsewhere."""
        self._works = {
            Work.START: self._start,
            Work.PLAN: self._plan,
            Work.TURN: self._turn,
            Work.JUDGE: self._judge,
            Work.CHECK: self._check,
            Work.RESTORE: self._restore,
            Work.UPDATE: self._update,
            Work.ADOPT: self._adopt,
            Work.MERGE: self._merge,
            Work.HAND: self._hand,
        }

    async def do(self, work: Work, run: Run, cause: str, *, again: bool = False) -> Made:
        """Do `work`; `cause` names the step. Returns what happened, perhaps nothing.

        `again` says that it was tried before.
        """
        return await self._works[work](await self._fresh(run, again=again), cause)

    async def _fresh(self, run: Run, *, again: bool) -> Run:
        """Load the run again: a try after a fault may find more recorded than the first one."""
        current = await self._ports.store.load(run.id) if again else run
        try:
            return await self._ports.forge.refresh(current)
        except TransientError:
            # What a turn left lies on this machine, whatever the repository is called now.
            if current.turn_open:
                return current
            raise

    async def _config(self, run: Run) -> Config:
        text = await self._ports.git.config(run, run.config)
        above = await self._ports.organisations.at(run.repository, run.organisation)
        return self._bounded(run, read_config(text, above))

    def _bounded(self, run: Run, config: Config) -> Config:
        return own(run, bounded(config, self._ports.bounds))

    async def _in_force(self, run: Run, blob: str, above: Above) -> InForce:
        """Read the newest configuration, or the last good one while that is wrong."""
        git = self._ports.git
        return await in_force(git, run.repository, await git.config(run, blob), blob, above)

    async def _present(self, run: Run) -> tuple[Base, Config]:
        """Look at the base and the configuration as they are now, not as when the run began."""
        return (await self._grounded(run))[:2]

    async def _grounded(self, run: Run) -> tuple[Base, Config, Grounds]:
        """Look at them as they are now, and at what the configuration is made of."""
        base, above = await asyncio.gather(
            self._ports.git.base(run, run.base),
            self._ports.organisations.now(run.repository, sure=True),
        )
        found = await self._in_force(run, base.config, above)
        grounds = grounds_of(found, base, above, self._ports.bounds)
        return base, self._bounded(run, found.config), grounds

    # -- the beginning

    async def _start(self, run: Run, _cause: str) -> Made:
        git = self._ports.git
        base, above = await asyncio.gather(
            git.base(run, run.base), self._ports.organisations.now(run.repository)
        )
        found = await self._in_force(run, base.config, above)
        config = self._bounded(run, found.config)
        if run.trusted:
            return await self._start_checking(base, found, above)
        if config.base and not run.base:
            base = await git.base(run, config.base)
        onto = await start_of(git, run, config) if run.onto else {}
        if isinstance(onto, Stuck):
            return [(Type.CANCELLED, stop(onto.reason, onto.next_step), ORCHESTRATE)]
        data = {
            "base": base.branch,
            "base_sha": base.sha,
            "base_tree": base.tree,
            "branch": texts.branch_name(run),
            "config": found.blob,
            "organisation": above.blob,
            "config_wrong": found.wrong,
            "config_of": found.commit,
            "forecast": await forecast_of(self._ports.store, run),
            "agent": self._ports.agents.choose(run.agent, config),
            "turns": config.limits.turns,
            "minutes": run.minutes or config.limits.minutes,
            "usd": run.budget or config.limits.usd,
            "tokens": config.limits.tokens,
            **onto,
        }
        return [(Type.STARTED, data, ORCHESTRATE)]

    async def _start_checking(self, base: Base, found: InForce, above: Above) -> Made:
        """Begin on a stranger's commit: on no branch, with no agent, and nothing to spend."""
        data = {
            "base": base.branch,
            "base_sha": base.sha,
            "base_tree": base.tree,
            "branch": "",
            "config": found.blob,
            "config_wrong": found.wrong,
            "config_of": found.commit,
            "organisation": above.blob,
            "agent": "",
            "turns": 0,
            "minutes": None,
        }
        return [(Type.STARTED, data, ORCHESTRATE)]

    async def _plan(self, run: Run, _cause: str) -> Made:
        self.preflight.begin(run, await self._config(run))
        plan = run.plan.model_dump(mode="json")
        return [(Type.PLANNED, {"plan": plan, "approval": run.wants_plan}, ORCHESTRATE)]

    # -- the agent's turn

    async def _turn(self, run: Run, cause: str) -> Made:
        if run.turn_open:
            return [await self._interrupted(run)]
        if run.turns >= run.turn_limit:
            reason = f"The run has used the {run.turns} turns that it may take."
            return [_blocked(reason, "`/resume` gives it as many again.")]
        if used := budget.used_up(run):
            return [_blocked(*used)]
        git, number = self._ports.git, run.turns + 1
        if run.onto and (ended := await gone(git, run, (await self._present(run))[1])):
            return [ended]
        config = await self._config(run)
        day = await self._day(run)
        if over := day_used_up(day, config):
            return [_blocked(*over)]
        self.preflight.begin(run, config)
        ready = await self._prepared(run, config, f"{cause}:setup")
        if isinstance(ready, Unprepared) and ready.own:
            # The agent's own change: it is told of that, and mends it on what the base needs.
            ready = await self._prepared(run, config, f"{cause}:setup:base", run.base_sha)
        if not isinstance(ready, Prepared):
            return _not_set_up(ready)
        # On another machine than the last turn's there is nothing that a session could go on from.
        is_known = git.place(run).home.exists()
        place = await git.open(run, run.head, ready.key)
        prompt = await self._prompt(run, number, place)
        told = [it.id for it in run.unheard()]
        started = {"turn": number, "agent": run.agent, "told": told, "day": warning(day, config)}
        run = await self._begun(run, f"{cause}:turn", started)
        if not run.turn_open:
            return []  # Stopped meanwhile: nothing was begun.
        allowed = partial(_allowed, day=day, config=config)
        usd, tokens = allowed(run)
        order = TurnOrder(
            number=number,
            agent=run.agent,
            prompt=prompt,
            place=place,
            seconds=_seconds(run, config, day),
            log=place.logs / f"turn-{number}.log",
            config=config,
            session=run.sessions.get(run.agent, "") if is_known else "",
            allowance_usd=usd,
            allowance_tokens=tokens,
        )
        report = await self._given(run, order, allowed)
        # It is known here alone; a second try of all this would take the turn for a dead one's.
        left = await patiently(lambda: self._left(run, report.outcome))
        data = {"turn": number, "outcome": report.outcome, "seconds": round(report.seconds, 3)}
        # Its limits may be others than they were.
        now = await patiently(lambda: self._ports.store.load(run.id))
        data |= {**_measured(report), **left, **_why(now, report, bool(left), day, config)}
        return [(Type.TURN_ENDED, data, ORCHESTRATE)]

    async def _begun(self, run: Run, id: str, data: dict[str, Any]) -> Run:
        """Note that the turn begins, unless the run was stopped while that was prepared."""
        at = self._ports.clock()
        event = Event(id=id, at=at, actor=ORCHESTRATE, type=Type.TURN_STARTED, data=data)
        return await self._ports.store.append(
            run.id, lambda now: [event] if now.state is State.RUNNING else []
        )

    async def _day(self, run: Run) -> DaySpent:
        store, now = self._ports.store, self._ports.clock()
        return await spent_today(store, run.repository, run.requester, now)

    async def _prompt(self, run: Run, number: int, place: Place) -> str:
        """Write a turn's prompt, and keep it beside the turn's log."""
        results = [each for each in await self._results(run) if each["attempt"] != NOT_YET]
        before = await self._ports.store.turn(run.id, run.turns)
        theirs = await self._changed_instructions(run)
        # What people pasted into the conversation may be a key of this very server.
        prompt = self._ports.redactor.text(texts.prompt(run, results, number, before, theirs))
        write_log(place.logs / f"turn-{number}.prompt.md", prompt)
        return prompt

    async def _changed_instructions(self, run: Run) -> dict[str, str]:
        """Return, by path, what the base says where the branch instructs agents otherwise.

        People may push anything to a branch. The agent finds it in its workspace, and many read it
        unasked, so it is told whose instructions hold.
        """
        if run.head == run.base_sha:
            return {}
        git = self._ports.git
        paths = instructions(await git.touched(run, run.base_sha, run.head))
        found = {path: await git.read(run, run.base_sha, path) for path in paths}
        return {path: (text or b"").decode("utf-8", "replace") for path, text in found.items()}

    async def _given(
        self, run: Run, order: TurnOrder, allowed: Callable[[Run], Allowed]
    ) -> TurnReport:
        """Give the agent its prompt, and look after its turn until it is over."""
        watch = TurnWatch(self._ports.store, self._ports.clock, run, allowed)
        order = replace(order, steer=watch, progress=watch, purse=watch)
        disk = self._disk_of(run, watch.stop)
        async with watch, self._halting(run, watch.stop) as halted, disk as full:
            report = await self._ports.agents.turn(
                order, stop=watch.stop, output=self._printer(run)
            )
            watch.usage(report.usage)
            watch.session(report.session)
            watch.ended(summary=report.summary, reason=report.reason)
        if halted.is_set() and report.outcome == "stopped":
            report = replace(report, outcome="interrupted")
        if not full.cancelled():
            report = replace(report, outcome="failed", reason=_too_large(full.result()))
        return report

    async def _interrupted(self, run: Run) -> tuple[str, dict[str, Any], str]:
        """Take what a turn left that this server did not see to its end.

        Where the workspace is gone with the machine that had it, so is what the turn changed.
        """
        is_open = self._ports.git.is_open(run)
        left = await self._left(run, "interrupted") if is_open else {"lost": True}
        kept = await self._ports.store.turn(run.id, run.turns)
        known = {name: kept[name] for name in ("usage", "session") if kept.get(name)}
        data = {"turn": run.turns, "outcome": "interrupted", **known, **left}
        return (Type.TURN_ENDED, data, ORCHESTRATE)

    async def _left(self, run: Run, outcome: str) -> dict[str, Any]:
        """Read from the file system what the turn changed; empty when it changed nothing."""
        at, kind, config = self._ports.clock(), _kind(outcome), await self._config(run)
        message = self._message(run, config, kind, texts.checkpoint_title(run, kind), at)
        found = await self._ports.git.take(run, message)
        if found.tree == run.tree and not found.violations:
            return {}
        return {
            "tree": found.tree,
            "commit": found.commit,
            "violations": [list(each) for each in found.violations[:VIOLATIONS]],
            "at": at.isoformat(),
        }

    # -- the rules, and the checkpoint

    async def _judge(self, run: Run, _cause: str) -> Made:
        git, left = self._ports.git, run.candidate
        changes = await git.changes(run, run.head, left["tree"])
        violations = [(path, reason) for path, reason in left["violations"]]
        known = self._ports.redactor.known
        secrets = await git.leaks(run, run.head, left["tree"], known)
        brought = await brought_by(git, run, run.head, left["tree"], changes)
        config = await self._config(run)
        by = author_of(run)
        verdict = await judged(changes, violations, secrets, config, by, brought)
        if not verdict.allowed:
            step = "`/resume` gives the agent another turn from the last checkpoint."
            if left["tree"] != run.tree:
                step += " `/rollback --only-violations` keeps what passes the rules."
            refused = [code_free(line) for line in verdict.lines()]
            data = {"violations": refused[:VIOLATIONS], **stop(verdict.reason, step)}
            if commit := left.get("commit"):
                await git.quarantine(run, commit)
            return [(Type.CANDIDATE_REFUSED, data, ORCHESTRATE)]
        kind = _kind(left["outcome"])
        title = texts.checkpoint_title(run, kind)
        sha = left.get("commit", "")
        if sha and await self._signing.is_asked(run, config):
            sha = await self._signing.publish(run, sha, left["tree"], [run.head])
        elif sha:
            await git.adopt(run, sha)
        else:  # recorded by an earlier version, which made the commit here
            at = datetime.fromisoformat(left["at"])
            message = self._message(run, config, kind, title, at)
            sha = await git.checkpoint(run, left["tree"], message)
        made = self._made(run, sha, left["tree"], kind, title, changes)
        await self._keep_rules(run, made["sha"], verdict.text())
        return [(Type.CHECKPOINTED, made, ORCHESTRATE)]

    async def _restore(self, run: Run, _cause: str) -> Made:
        asked, text, config = run.restore, SEEN, await self._config(run)
        changes = await self._ports.git.changes(run, run.head, asked["tree"])
        if asked["kind"] == "kept":
            known = self._ports.redactor.known
            secrets = await self._ports.git.leaks(run, run.head, asked["tree"], known)
            brought = await brought_by(self._ports.git, run, run.head, asked["tree"], changes)
            verdict = await judged(changes, (), secrets, config, author_of(run), brought)
            if not verdict.allowed:
                return [_blocked(verdict.reason, "`/resume` gives the agent another turn.")]
            text = verdict.text()
        # The time is part of the commit, so a second try makes the same one.
        at = datetime.fromisoformat(asked["at"])
        message = self._message(run, config, asked["kind"], asked["title"], at)
        sha = await self._committed(run, asked["tree"], message)
        made = self._made(run, sha, asked["tree"], asked["kind"], asked["title"], changes)
        await self._keep_rules(run, made["sha"], text)
        return [(Type.CHECKPOINTED, made, asked.get("by", ORCHESTRATE))]

    async def _update(self, run: Run, _cause: str) -> Made:
        git, asked = self._ports.git, run.restore
        base, config = asked["base_sha"], await self._config(run)
        found = await with_base(git, run, config, base)
        if isinstance(found, Stuck):
            return [_blocked(found.reason, found.next_step)]
        changes = await git.changes(run, run.head, found.tree)
        at = datetime.fromisoformat(asked["at"])
        message = self._message(run, config, "update", asked["title"], at)
        sha = await self._committed(run, found.tree, message, joined=base)
        made = self._made(run, sha, found.tree, "update", asked["title"], changes)
        made |= {"base_sha": base, "base_tree": asked["base_tree"]}
        await self._keep_rules(run, sha, found.verdict)
        return [(Type.CHECKPOINTED, made, asked["by"])]

    async def _committed(
        self, run: Run, tree: str, message: CommitMessage, joined: str | None = None
    ) -> str:
        """Commit `tree` on the run's head, by git or by GitHub, as the configuration says."""
        git = self._ports.git
        if not await self._signing.is_asked(run, await self._config(run)):
            return await git.checkpoint(run, tree, message, joined)
        parents = [run.head, joined] if joined else [run.head]
        sha = await git.commit(run, tree, parents, message)
        return await self._signing.publish(run, sha, tree, parents)

    def _message(
        self, run: Run, config: Config, kind: CheckpointKind, title: str, at: datetime
    ) -> CommitMessage:
        agent = run.agent if kind in BY_AGENT else None
        trailers = texts.trailers(run, _next_number(run), agent=agent)
        return CommitMessage(title, trailers, at, config.sign_off)

    def _made(
        self,
        run: Run,
        sha: str,
        tree: str,
        kind: CheckpointKind,
        title: str,
        changes: Sequence[Change],
    ) -> dict[str, Any]:
        return {
            "number": _next_number(run),
            "sha": sha,
            "tree": tree,
            "parent": run.head,
            "kind": kind,
            "title": title,
            "turn": run.turns if kind in BY_AGENT else None,
            **_size(changes),
        }

    async def _adopt(self, run: Run, _cause: str) -> Made:
        human = await self._ports.git.human_work(run)
        if human is None:
            reason = "The commits that were pushed to the branch are gone from it again."
            return [_blocked(reason, "`/retry` checks the branch as it is.")]
        config, told = await self._config(run), "Written by people; the rules bind agents."
        if config.sign_off:
            commits = await self._ports.git.pushed_commits(run, human.sha)
            signed = check_sign_off(commits, config)
            told = f"{told}\n{signed.text()}"
            if not signed.allowed:
                return [_blocked(signed.reason, "`/resume` takes the commits in then.")]
        by = {} if run.is_local else {"by": await self._wrote(run, human.sha)}
        await self._ports.git.adopt(run, human.sha)
        changes = await self._ports.git.changes(run, run.head, human.sha)
        made = {
            "number": _next_number(run),
            "sha": human.sha,
            "tree": human.tree,
            "parent": run.head,
            "kind": "human",
            "title": human.titles[-1] if human.titles else "Commits of a person",
            "author": texts.listed(human.authors),
            **by,
            **_size(changes),
        }
        await self._keep_rules(run, human.sha, told)
        return [(Type.CHECKPOINTED, made, texts.listed(human.authors) or ORCHESTRATE)]

    async def _wrote(self, run: Run, tip: str) -> list[str]:
        """Name who pushed what is on top of the head, as GitHub and its deliveries told of it.

        Who pushed may not approve, so whoever may not be known is named `GHOST`.
        """
        found = [each or GHOST for each in await self._ports.forge.pushers(run, tip)]
        is_told = run.foreign == tip and run.pushers and GHOST not in run.pushers
        told = [each for each in run.pushers if each != GHOST]
        unknown = [] if found or is_told else [GHOST]
        return list(dict.fromkeys([*told, *found, *unknown]))

    async def _keep_rules(self, run: Run, sha: str, text: str) -> None:
        body = {
            "name": RULES,
            "conclusion": "success",
            "summary": "The changes pass the repository's rules.",
            "text": text,
            "annotations": [],
            "seconds": 0.0,
        }
        await self._ports.store.keep_result(run, sha, run.attempt, body)

    # -- the checks

    async def _check(self, run: Run, cause: str) -> Made:
        if run.trusted:
            return await self._check_trusted(run, cause)
        human = await self._ports.git.push(run)
        if human is not None:
            return [await self._pushed(run, human)]
        config = await self._config(run)
        checks = await checks_of(self._ports.git, self._ports.checks, run, config)
        kept = {each["name"]: each for each in await self._results(run)}
        due = [check for check in checks if _is_due(run, check, kept.get(check.name))]
        if due:
            ready = await self._prepared(run, config, f"{cause}:setup")
            if isinstance(ready, Unprepared) and ready.own:
                return await self._setup_failed(run, ready)
            if not isinstance(ready, Prepared):
                return _not_set_up(ready)
            if SETUP in kept:
                await self._ports.store.keep_result(run, run.head, run.attempt, _setup_result())
            if not await self._run_checks(run, due, kept, ready.key):
                return []  # Stopped: the run says elsewhere why, and `/resume` begins here again.
        ended = [kept[check.name] for check in checks]
        return [(Type.CHECKED, _checked(run, ended, checks), ORCHESTRATE)]

    async def _check_trusted(self, run: Run, cause: str) -> Made:
        """Run the checks on a stranger's commit, on what the base has installed, and push nothing.

        What it changed of the set-up is not carried out: that has a network, and may have secrets.
        """
        _, config = await self._present(run)
        if not await self._ports.git.trusted(run) or config.trust == "off":
            reason = f"{run.trusted[:7]} is not trusted any more: its head or the policy changed."
            step = "`/orchestrate trust SHA` trusts the head as it is now."
            return [(Type.CANCELLED, stop(reason, step), ORCHESTRATE)]
        ready = await self._prepared(run, config, f"{cause}:setup", run.base_sha)
        if not isinstance(ready, Prepared):
            return _not_set_up(ready)
        checks = await checks_of(self._ports.git, self._ports.checks, run, config)
        kept = {each["name"]: each for each in await self._results(run)}
        due = [check for check in checks if _is_due(run, check, kept.get(check.name))]
        if due and not await self._run_checks(run, due, kept, ready.key):
            return []
        ended = [kept[check.name] for check in checks]
        return [(Type.CHECKED, _checked(run, ended, checks), ORCHESTRATE)]

    async def _run_checks(
        self, run: Run, due: Sequence[Check], kept: dict[str, dict[str, Any]], environment: str
    ) -> bool:
        place = await self._ports.git.open(run, run.head, environment)
        for check in due:
            if check.name not in kept:
                await self._ports.store.keep_result(run, run.head, NOT_YET, _awaited(check))
        async with self._stop_of(run) as stop_event:
            for check in due:
                kept[check.name] = await self._run_check(run, check, place, stop_event)
                if stop_event.is_set():
                    return False
        return True

    async def _setup_failed(self, run: Run, failure: Unprepared) -> Made:
        """Say as a red check what the run's own change of a lock file came to."""
        result = _setup_result(failure)
        await self._ports.store.keep_result(run, run.head, run.attempt, result)
        return [
            (Type.CHECKED, _checked(run, [{**result, "attempt": run.attempt}], ()), ORCHESTRATE)
        ]

    async def _results(self, run: Run) -> list[dict[str, Any]]:
        return await self._ports.store.results(run.id, run.head)

    async def _run_check(
        self, run: Run, check: Check, place: Place, stop_event: asyncio.Event
    ) -> dict[str, Any]:
        number = run.last.number if run.last else 0
        result = await self._ports.checks.run(
            check,
            place,
            log=place.logs / f"check-{number}-{texts.slug(check.name)}.log",
            stop=stop_event,
            output=self._printer(run),
        )
        if not stop_event.is_set():
            await self._ports.store.keep_result(run, run.head, run.attempt, result)
        return {**result, "attempt": run.attempt}

    # -- a person pushed

    async def _pushed(self, run: Run, human: HumanWork) -> tuple[str, dict[str, Any], str]:
        """Say that people pushed, of which nobody told: who wrote a commit may be anybody."""
        data = {"before": run.head, "after": human.sha}
        if run.is_local:
            who = texts.listed(human.authors) or "Somebody"
            return (Type.HUMAN_PUSHED, {**data, "who": who}, who)
        by = next(iter(await self._ports.forge.pushers(run, human.sha)), "") or GHOST
        who = "Somebody" if by == GHOST else f"@{by}"
        return (Type.HUMAN_PUSHED, {**data, "who": who}, by)

    # -- a person takes the branch

    async def _hand(self, run: Run, _cause: str) -> Made:
        """Publish the head under its lease, for the person who took the branch."""
        human = await self._ports.git.push(run)
        if human is not None:
            return [await self._pushed(run, human)]
        return [(Type.HANDED_OVER, {"sha": run.head}, ORCHESTRATE)]

    # -- the end

    async def _merge(self, run: Run, cause: str) -> Made:
        approval = run.approved_head()
        if approval is None:
            reason = "What was approved is not the head any more."
            return [_blocked(reason, "`/retry` checks the new head; look at it, then `/approve`.")]
        base, config, grounds = await self._grounded(run)
        if run.onto and (ended := await gone(self._ports.git, run, config)):
            return [ended]  # Whoever pushed there, nobody may have told of it.
        if why := _not_as_approved(run, config):
            return [
                _blocked(why, "`/retry` checks the head, then `/approve` it as things are now.")
            ]

        if kept := await self._kept(run, config):
            return kept

        async def check(there: Run) -> Sequence[dict[str, Any]] | Made:
            return await self._check_trial(there, config, cause)

        if (made := await self._landing.trial(run, approval, config, base, check)) is not None:
            return made
        if (made := await self._recheck(run, config, cause)) is not None:
            return made
        ready = await self._landing.outside(run, approval, config)
        if not isinstance(ready, Ready):
            return ready
        # What was checked may have taken its time.
        if kept := await self._kept(await self._ports.store.load(run.id), config):
            return kept
        await Recorder(self._ports.store, self._ports.git).publish(run)
        if run.pull_request is None:
            # Approved on the issue before the drawing was told of, or over.
            number = await self._ports.forge.show(run, await self._results(run))
            run = run.model_copy(update={"pull_request": number})
        body = await self._body(run, config) if ready.method == "squash" else ""
        landed = await self._ports.forge.merge(run, approval, ready.method, ready.rules, body)
        # What was compared with the approvals, for whoever looks at that again.
        policy = {"policy": digest(config), "under": grounds.recorded()}
        if isinstance(landed, Merged):
            return [(Type.MERGED, {"sha": landed.sha, **policy}, ORCHESTRATE)]
        return [later(run, landed, policy) if isinstance(landed, Later) else refused(landed)]

    async def _body(self, run: Run, config: Config) -> str:
        """Carry the sign-offs of what is squashed to the one commit; empty where none are asked.

        Everybody's own, of their own commits: nobody's word is given for them.
        """
        if not config.sign_off:
            return ""
        since = run.model_copy(update={"head": run.base_sha})
        commits = await self._ports.git.pushed_commits(since, run.head)
        signed = [
            f"Signed-off-by: {each.author} <{each.address}>"
            for each in reversed(commits)
            if each.address in each.signed_off_by
        ]
        given = texts.trailers(run, run.last.number if run.last else 0, agent=run.agent)
        lines = [f"{name}: {value}" for name, values in given.items() for value in values]
        return "\n".join(dict.fromkeys([*lines, *signed]))

    async def _kept(self, run: Run, config: Config) -> Made:
        """Say what keeps the head from being merged at this moment, whoever approved it.

        A run that does not merge any more is taken out of GitHub's queue where it is drawn.
        """
        labels = await self._ports.forge.labels(run) if config.hold.labels else ()
        why = kept_back(run, labels, self._ports.clock(), config)
        step = "`/retry` checks the head and makes it ready for review again."
        return [_blocked(why, step)] if why else []

    async def _recheck(self, run: Run, config: Config, cause: str) -> Made | None:
        """Run the checks again that only a record tells of; None where nothing speaks against it.

        Whoever may push to a repository may push a record that says that they passed.
        """
        if not any(each.get(RESTORED) for each in await self._results(run)):
            return None
        ended = await self._check_trial(run, config, cause)
        if isinstance(ended, list):
            return ended
        red = [each["name"] for each in ended if each["conclusion"] != "success"]
        red = [name for name in red if not run.override_of(name)]
        if not red:
            return None
        names = texts.listed([code(name) for name in red])
        verb = "fails" if len(red) == 1 else "fail"
        reason = f"{names} {verb} on {code(run.head[:7])}, though the record says otherwise."
        return [_blocked(reason, "`/resume` gives the agent another turn, `/retry` runs it again.")]

    async def _check_trial(
        self, there: Run, config: Config, cause: str
    ) -> Sequence[dict[str, Any]] | Made:
        """Run the checks on a merge result, as far as they have not ended there before."""
        checks = await checks_of(self._ports.git, self._ports.checks, there, config)
        results = [each for each in await self._results(there) if not each.get(RESTORED)]
        kept = {each["name"]: each for each in results}
        due = [check for check in checks if _is_due(there, check, kept.get(check.name))]
        if due:
            ready = await self._prepared(there, config, f"{cause}:setup")
            if not isinstance(ready, Prepared):
                return _not_set_up(ready)
            if not await self._run_checks(there, due, kept, ready.key):
                return []  # Stopped: the run says elsewhere why.
        return tuple(kept[check.name] for check in checks)

    # -- what they share

    async def _prepared(
        self, run: Run, config: Config, cause: str, commit: str = ""
    ) -> Prepared | Unprepared | None:
        """Find or make the environment of a commit, or else of the head; None where stopped.

        On a stranger's commit it is the base's: making one has a network, and may have secrets.
        """
        begun, own = False, run.base_sha if run.onto else run.head

        async def begin() -> None:
            nonlocal begun
            begun = True
            await self._note(run, f"{cause}:started", Type.SETUP_STARTED, {})

        async with self._stop_of(run) as stop_event:
            ready = await self._ports.environments.prepare(
                run,
                commit or own,
                config,
                stop=stop_event,
                output=self._printer(run),
                begin=begin,
            )
        if begun:
            data = {"set_up": isinstance(ready, Prepared)}
            await self._note(run, f"{cause}:ended", Type.SETUP_ENDED, data)
        return ready

    async def _note(self, run: Run, id: str, kind: str, data: dict[str, Any]) -> Run:
        event = Event(id=id, at=self._ports.clock(), actor=ORCHESTRATE, type=kind, data=data)
        return await self._ports.store.append(run.id, lambda _: [event])

    def _printer(self, run: Run) -> Callable[[str], None]:
        return lambda line: self._on_output(run.id, line)

    @contextlib.asynccontextmanager
    async def _stop_of(self, run: Run) -> AsyncIterator[asyncio.Event]:
        async with stop_of(self._ports.store, run) as stop_event, self._halting(run, stop_event):
            yield stop_event

    @contextlib.asynccontextmanager
    async def _halting(self, run: Run, stop: asyncio.Event) -> AsyncIterator[asyncio.Event]:
        """Set `stop` as soon as this process ends or an operator stops the work; and what it gives.

        What was at work then goes on by itself, here or elsewhere.
        """
        halted = asyncio.Event()

        async def wait() -> None:
            while not await self._is_halted(run):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(WATCH_SECONDS):
                        await self.halt.wait()
            halted.set()
            stop.set()

        waiter = asyncio.create_task(wait())
        try:
            yield halted
        finally:
            waiter.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiter

    async def _is_halted(self, run: Run) -> bool:
        if self.halt.is_set():
            return True
        try:
            stopped = await self._ports.store.queue.stop_of(run.repository.installation)
        except TransientError:
            return False  # Out of reach, the database stops nobody.
        return stopped is not None

    @contextlib.asynccontextmanager
    async def _disk_of(self, run: Run, stop: asyncio.Event) -> AsyncIterator[asyncio.Task[int]]:
        """Give a task that is done as soon as the workspace is too large, and then set `stop`."""
        watcher = asyncio.create_task(self._ports.git.too_large(run))
        watcher.add_done_callback(lambda it: None if it.cancelled() else stop.set())
        try:
            yield watcher
        finally:
            if not watcher.done():
                watcher.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await watcher


async def checks_of(git: Git, desk: Checks, run: Run, config: Config) -> Sequence[Check]:
    """Say which checks a run's head has to pass: those that are configured, or those found."""
    if config.checks != "auto":
        return [
            Check(name=c.name, run=c.run, report=c.report, seconds=c.minutes * MINUTE_SECONDS)
            for c in config.checks
        ]
    paths = await git.paths(run, run.head)
    wanted = [p for p in paths if p in desk.reads]
    files = {path: await git.read(run, run.head, path) for path in wanted}
    return desk.detect(paths, files.get)


def own(run: Run, config: Config) -> Config:
    """Return the configuration with what was given with the request itself in its place."""
    update: dict[str, Any] = {}
    if run.is_local:
        # Whoever sits at the machine decides alone.
        update["approval"] = config.approval.model_copy(update={"requester": "always"})
        if "budget" not in config.model_fields_set:
            update["budget"] = Budget(repository=Daily(), person=Daily())
    if run.own_agent:
        update["agents"] = {**config.agents, OWN_AGENT: Agent(command=run.own_agent)}
    if run.own_checks:
        names = texts.check_names(run.own_checks)
        pairs = zip(names, run.own_checks, strict=True)
        update["checks"] = tuple(ConfiguredCheck(name=name, run=each) for name, each in pairs)
    return config.model_copy(update=update)


def stop(reason: str, next_step: str) -> dict[str, Any]:
    """Say why a run stopped and what to type next."""
    return {"reason": reason, "next_step": next_step}


def code_free(line: str) -> str:
    """Take the code marks out of a line that is shown as plain text."""
    return line.replace("`", "")


def _blocked(reason: str, next_step: str) -> tuple[str, dict[str, Any], str]:
    return (Type.BLOCKED, stop(reason, next_step), ORCHESTRATE)


def _not_set_up(failure: Unprepared | None) -> Made:
    """Say why there is no environment; nothing where the run was stopped meanwhile."""
    return [_blocked(failure.reason, failure.next_step)] if failure else []


def _setup_result(failure: Unprepared | None = None) -> dict[str, Any]:
    """The result of setting up, as that of a check."""
    return {
        "name": SETUP,
        "conclusion": "failure" if failure else "success",
        "summary": f"{failure.reason} {failure.next_step}" if failure else "It is set up.",
        "text": _fenced(failure.log) if failure and failure.log else "",
        "annotations": [],
        "seconds": 0.0,
    }


def _fenced(log: str) -> str:
    plain = log.replace("`", "'")  # nothing in it closes the fence
    return f"```\n{plain}\n```"


def _not_as_approved(run: Run, config: Config) -> str:
    """Say what keeps the approvals of the head from counting under `config`; nothing where they do.

    Those of an earlier version do not say what held then.
    """
    given, now = run.approved(), digest(config)
    changed = [each.by for each in given if each.policy not in ("", now)]
    if len(given) - len(changed) >= config.approval.required:
        return ""
    if changed:
        return f"The configuration is another one than when {texts.listed(changed)} approved."
    return f"It takes {config.approval.required} approvals, and has {len(given)}."


def _next_number(run: Run) -> int:
    return run.last.number + 1 if run.last else 1


def _kind(outcome: str) -> CheckpointKind:
    kinds: Mapping[str, CheckpointKind] = {
        "ended": "agent",
        "failed": "partial",
        "budget": "partial",
    }
    return kinds.get(outcome, "interrupted")


def _least(*limits: float | None) -> float | None:
    """Return the tightest of limits, where None is none."""
    return min((each for each in limits if each is not None), default=None)


def _allowed(run: Run, *, day: DaySpent, config: Config) -> Allowed:
    """Say what a turn may take, of the run's own and of what was left of the day at its start."""
    tokens = _least(budget.left_tokens(run), left_today(day, config, "tokens"))
    return Allowed(
        _least(budget.left_usd(run), left_today(day, config, "usd")),
        None if tokens is None else int(tokens),
    )


def _seconds(run: Run, config: Config, day: DaySpent) -> float:
    """Return how long a turn may take: as asked, and as long as there is time left today."""
    minutes = _least(
        float(run.minutes or config.limits.minutes), left_today(day, config, "minutes")
    )
    return (minutes or 0.0) * MINUTE_SECONDS


def day_used_up(day: DaySpent, config: Config) -> tuple[str, str] | None:
    """Say that the day's budget is used up, and what goes on from here; None where it is not."""
    verdict = check_day(day, config)
    return None if verdict.allowed else (verdict.reason, "`/resume` goes on from here then.")


def _why(
    run: Run, report: TurnReport, changed: bool, day: DaySpent, config: Config
) -> dict[str, Any]:
    again = "`/resume` gives it another turn, `/resume --agent NAME` another agent one."
    if report.outcome == "budget":
        usage = run.usage + Usage.model_validate(report.usage)
        after = run.model_copy(update={"usage": usage})
        if used := budget.used_up(after):
            return stop(*used)
        today, mine = left_today(day, config, "usd"), budget.left_usd(run)
        if today is not None and (mine is None or today < mine):
            step = "`/resume` goes on from here tomorrow, after 0:00 UTC."
            return stop("What was left of today's budget is used up.", step)
        # What is left may be too little for a request, so that it stops before all is used.
        return stop(*budget.too_little(after))
    if report.outcome == "failed":
        return stop(report.reason, again)
    if report.outcome == "ended" and not changed:
        return stop("The agent ended its turn and changed nothing.", again)
    return {}


def _measured(report: TurnReport) -> dict[str, Any]:
    """What the record says of a turn beside the tree it left, as far as it is known."""
    blocked = [_blocked_host(each) for each in report.blocked[:BLOCKED_HOSTS]]
    known = {"usage": report.usage, "session": report.session, "blocked": blocked}
    return {name: value for name, value in known.items() if value}


def _blocked_host(blocked: Mapping[str, Any]) -> dict[str, Any]:
    host, program = str(blocked["host"]), str(blocked.get("program") or "")
    return {
        "host": host[:HOST_LENGTH],
        "port": int(blocked["port"]),
        "program": program[:HOST_LENGTH],
    }


def _too_large(size: int) -> str:
    return (
        f"The workspace took {size // 2**20} MiB of the disk, which is more than the server allows."
    )


def _awaited(check: Check) -> dict[str, Any]:
    """The result of a check before it has one: shown as in progress, or cancelled if it stays."""
    return {
        "name": check.name,
        "conclusion": "cancelled",
        "summary": "Not finished.",
        "text": "",
        "annotations": [],
        "seconds": 0.0,
    }


def _size(changes: Sequence[Change]) -> dict[str, int]:
    return {
        "files": len(changes),
        "added": sum(change.added for change in changes),
        "deleted": sum(change.deleted for change in changes),
    }


def _is_due(run: Run, check: Check, kept: Mapping[str, Any] | None) -> bool:
    if kept is None:
        return True
    if kept["attempt"] == run.attempt:
        return False
    return not run.retry or run.retry == check.name or kept["conclusion"] != "success"


def _checked(
    run: Run, ended: Sequence[Mapping[str, Any]], checks: Sequence[Check]
) -> dict[str, Any]:
    red = [each["name"] for each in ended if each["conclusion"] != "success"]
    keys = ("name", "conclusion", "summary", "seconds", "attempt")
    data: dict[str, Any] = {
        "sha": run.head,
        "checks": [{key: each[key] for key in keys} for each in ended],
        "green": not red,
    }
    if red:
        names = texts.listed([f"`{name}`" for name in red])
        verb = "fails" if len(red) == 1 else "fail"
        step = "`/resume` gives the agent more turns, `/retry` runs the checks again."
        data |= stop(f"{names} {verb} on {run.head[:7]}.", step)
    return data
