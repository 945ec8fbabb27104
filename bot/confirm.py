"""Decisions that a restored record tells of, asked of GitHub again before they count.

Whoever may push to a repository may push a record. What a server wrote down itself it believes; of
a record that comes from elsewhere each decision must be found on GitHub: the comment or the review
by its number, by the same person, unedited, in the run's own conversation, and of the same commit.
A bare `/approve` is of the head where a check of ours, which nobody else can write, stood on it
before. What a button gave is kept nowhere on GitHub, and so is not found. The role is asked for
where the decision counts, as ever. Who asked for the run must be who wrote the comment that it came
from, or set the label, and nobody may have pushed to its branch whom the record does not name; an
approval by one of those is judged anew when it is given again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import dropwhile
from typing import Protocol

from bot.commands import Command, Usage, parse
from bot.errors import OrchestrateError
from bot.events import ORCHESTRATE, Event, Type
from bot.found import is_unedited
from bot.runs.model import Repository, Run
from bot.threads import Comment, Push, Review, ReviewComment
from policies.verdict import code

DECISIONS: Mapping[str, str] = {
    Type.APPROVED: "approve",
    Type.OVERRIDDEN: "override",
    Type.DELEGATED: "delegate",
}
"""What is asked for again, by the command that it must have been."""

LABELLED_WITHIN = timedelta(seconds=2)
"""How far the time of a label may lie from when its issue changed by it: both are whole seconds."""

_LABEL = re.compile(r"label:(?P<issue>\d+):(?P<at>\S+)")

_CAUSE = re.compile(r"(?P<kind>comment|review|review-comment):(?P<number>\d+):(?P<line>\d+)")


class Words(Protocol):
    """What people wrote on GitHub. Every call may raise `TransientError` or `Refused`."""

    async def comment(self, repository: Repository, id: int) -> Comment | None:
        """Read a comment as it is now; None when it was deleted."""

    async def reviews(self, repository: Repository, pull: int) -> list[Review]:
        """Read the reviews of a pull request, the oldest first."""

    async def line_comments(self, repository: Repository, pull: int) -> list[ReviewComment]:
        """Read the comments on lines of a pull request, the oldest first."""


class Witness(Words, Protocol):
    """What is asked of GitHub, to confirm what was decided of a commit."""

    async def labelled(self, repository: Repository, issue: int) -> list[tuple[str, datetime]]:
        """Say who set labels on an issue, and when; empty names where nobody knows any more."""

    async def pushes(self, repository: Repository, branch: str) -> list[Push]:
        """Say who moved a branch and where to, the newest first."""

    async def shown_at(self, repository: Repository, sha: str) -> datetime | None:
        """Say when a check of ours first stood on a commit; None where none does."""


@dataclass(frozen=True, slots=True)
class _Said:
    """What stands on GitHub: who wrote it, the command, when, and the commit it was about."""

    by: str
    command: Command | None
    at: datetime
    seen: str = ""


class _Doubt(Exception):
    """Why a decision is not found, as the end of a sentence."""


async def doubted(
    witness: Witness, usages: Sequence[Usage], run: Run, record: Sequence[Event]
) -> dict[str, str]:
    """Return the decisions of a record that GitHub does not confirm, each with why not.

    `run` is what the record comes to; the decisions are named by their events' ids. A GitHub that
    does not answer confirms nothing.
    """
    found: dict[str, str] = {}
    look, is_requested = _Look(witness, usages, run), True
    for event in record:
        try:
            if event.type == Type.REQUESTED:
                await look.requester(event, witness)
                await look.pushers(witness)
            elif event.type in DECISIONS:
                await look.confirm(event, witness, is_requested=is_requested)
        except _Doubt as doubt:
            found[event.id] = str(doubt)
        except OrchestrateError as error:
            found[event.id] = f"GitHub could not be asked: {str(error).rstrip('.')}"
        is_requested &= event.type != Type.REQUESTED or event.id not in found
    return found


async def doubt_of_trust(words: Words, usages: Sequence[Usage], run: Run, requested: Event) -> str:
    """Say why GitHub does not confirm that somebody trusted a stranger's commit; empty if it does.

    `requested` is the event that the run which checked it began with.
    """
    try:
        said = await _Look(words, usages, run).by_its_actor(requested, "trust")
    except _Doubt as doubt:
        return str(doubt)
    named = said.command.argument() if said.command else ""
    return "" if named and run.trusted.startswith(named.lower()) else "they name another commit"


@dataclass(frozen=True, slots=True)
class _Look:
    witness: Words
    usages: Sequence[Usage]
    run: Run

    async def requester(self, event: Event, witness: Witness) -> None:
        """Doubt who asked for the run, unless that is who wrote the words that it came from.

        Those are known for sure: the run's id is made of them.
        """
        source = self.run.source
        if source.kind == "schedule" and event.actor == ORCHESTRATE:
            return
        if source.kind == "label" and (match := _LABEL.fullmatch(source.key)):
            await self._labelled(event.actor, int(match["issue"]), match["at"], witness)
            return
        match = _CAUSE.fullmatch(source.key)
        if match is None or match["kind"] != "comment":
            raise _Doubt("what it began by tells of nobody")
        found = await self.witness.comment(self.run.repository, int(match["number"]))
        if found is None:
            raise _Doubt("the comment that it began by is gone")
        # Who wrote it does not change with what it says.
        if found.author_is_bot or found.author.casefold() != event.actor.casefold():
            raise _Doubt("somebody else wrote the comment that it began by")

    async def _labelled(self, by: str, issue: int, at: str, witness: Witness) -> None:
        """Doubt who set the label that a run began by, where anybody else set one just then."""
        moment = datetime.fromisoformat(at)
        told = await witness.labelled(self.run.repository, issue)
        then = {login.casefold() for login, when in told if abs(when - moment) <= LABELLED_WITHIN}
        if then != {by.casefold()}:
            raise _Doubt("somebody else may have set the label that it began by")

    async def pushers(self, witness: Witness) -> None:
        """Doubt who wrote at the run, where somebody pushed to its branch who is not named.

        What came after its last checkpoint is news, and will be taken in with who pushed it.
        """
        if not self.run.branch or not self.run.checkpoints:
            return
        named = {each.casefold() for each in (self.run.requester, *self.run.authors)}
        pushes = await witness.pushes(self.run.repository, self.run.branch)
        made = {each.sha for each in self.run.checkpoints}
        for push in dropwhile(lambda each: each.after not in made, pushes):
            if push.by is not None and push.by.casefold() not in named:
                who = code(push.by) if push.by else "somebody"
                raise _Doubt(f"{who} pushed to its branch, and the record does not say so")

    async def by_its_actor(self, event: Event, verb: str) -> _Said:
        """Find the command of an event, given by who the event says gave it."""
        said = await self._said(event)
        if said.by.casefold() != event.actor.casefold():
            raise _Doubt("somebody else wrote the words that it names")
        if said.command is None or said.command.verb != verb:
            raise _Doubt("the words that it names say something else")
        return said

    async def confirm(self, event: Event, witness: Witness, *, is_requested: bool) -> None:
        """Doubt a decision; `is_requested` says that GitHub confirms who had a part."""
        if event.type == Type.APPROVED:
            self._independent(event, is_requested=is_requested)
        said = await self.by_its_actor(event, DECISIONS[event.type])
        given = said.command
        assert given is not None, "the command was found"
        if event.type == Type.DELEGATED:
            if given.argument().removeprefix("@").lower() != event.data.get("to"):
                raise _Doubt("the words that it names are for somebody else")
            return
        if event.type == Type.OVERRIDDEN and not _names(given, str(event.data.get("check"))):
            raise _Doubt("the words that it names are about another check")
        if event.data.get("of") != "plan":
            await self._of_commit(event, said, witness)

    def _independent(self, event: Event, *, is_requested: bool) -> None:
        """Doubt an approval that may have been refused for the part that its giver had.

        Whether the rules allowed it all the same is asked when it is given again.
        """
        if not is_requested:
            raise _Doubt("nobody can tell whether they had a part in the run themselves")
        part = {each.casefold() for each in (self.run.requester, *self.run.authors)}
        if event.actor.casefold() in part:
            raise _Doubt("they had a part in the run themselves")

    async def _of_commit(self, event: Event, said: _Said, witness: Witness) -> None:
        """Doubt a decision that was not of the commit which the record names, and its files."""
        sha, tree = str(event.data.get("sha")), event.data.get("tree")
        if (sha, tree) not in {(each.sha, each.tree) for each in self.run.checkpoints}:
            raise _Doubt("it names no checkpoint of the run")
        named = said.command.argument() if said.command and event.type == Type.APPROVED else ""
        seen = named.lower() or said.seen
        if seen:
            if not sha.startswith(seen):
                raise _Doubt("it was given for another commit")
            return
        shown = await witness.shown_at(self.run.repository, sha)
        if shown is None or said.at <= shown:
            raise _Doubt("it names no commit, and this one was not shown before it was given")

    async def _said(self, event: Event) -> _Said:
        match = _CAUSE.fullmatch(event.id)
        if match is None:
            raise _Doubt("it was given by a button, which GitHub keeps nowhere")
        number, line = int(match["number"]), int(match["line"])
        ask = {"comment": self._comment, "review": self._review, "review-comment": self._on_line}
        said = await ask[match["kind"]](number, line)
        if said is None:
            raise _Doubt("the words that it names are not in the run's conversation, or changed")
        return said

    async def _comment(self, number: int, line: int) -> _Said | None:
        found = await self.witness.comment(self.run.repository, number)
        here = (self.run.issue, self.run.pull_request)
        if found is None or found.author_is_bot or not is_unedited(found):
            return None
        if found.number not in here:
            return None
        return _Said(found.author, self._command(found.body, line), found.created_at)

    async def _review(self, number: int, line: int) -> _Said | None:
        pull = self.run.pull_request
        listed = await self.witness.reviews(self.run.repository, pull) if pull else []
        found = next((each for each in listed if each.id == number), None)
        if found is None or found.author_is_bot:
            return None
        command = self._command(found.body, line)
        if line == 0 and found.state == "approved":
            command = Command("approve", line=0)
        return _Said(found.author, command, found.submitted_at, found.commit_sha)

    async def _on_line(self, number: int, line: int) -> _Said | None:
        pull = self.run.pull_request
        listed = await self.witness.line_comments(self.run.repository, pull) if pull else []
        found = next((each for each in listed if each.id == number), None)
        if found is None or found.author_is_bot or found.created_at is None:
            return None
        if found.created_at != found.updated_at:
            return None
        command = self._command(found.body, line)
        return _Said(found.author, command, found.created_at, found.commit_sha)

    def _command(self, body: str, line: int) -> Command | None:
        meant = [each for each in parse(body, self.usages) if each.line == line]
        return next((each for each in meant if isinstance(each, Command)), None)


def _names(given: Command, check: str) -> bool:
    """Say whether an `/override` is of a check: its name comes first, then the reason."""
    return f"{given.text}\n{given.detail}".startswith((f"{check} ", f"{check}\n"))
