"""What an agent is told of the conversation around a request.

It is what stood when the command was given, by people who may speak to agents here: the issue, what
was said below it, the issues and pull requests that it links to, and the comments on lines of those
pull requests. What was changed afterwards is left out, and so is who may not speak; a remark says
so. Of a comment GitHub tells when it was changed; of an issue's own text only when anything about
it was, so then all of it is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from bot.errors import Refused
from bot.router import Desk, Spoken
from bot.runs.model import Repository
from bot.standing import may_speak
from bot.threads import Comment, Issue, ReviewComment
from bot.visible import visible
from policies.config import Config

log = structlog.get_logger()

LINKED_MAX = 5
"""Linked issues and pull requests that are read: who names more means a list, not a task."""

COMMENTS_MAX = 15
"""Comments of one conversation that are told, the newest: what is older was said again."""

TEXT_MAX = 4_000
"""Characters of one text; its beginning says what it is about."""

CONTEXT_MAX = 24_000
"""Characters of all of it: some 6,000 tokens, which any model reads beside the files."""

SAME_MOMENT = timedelta(seconds=1)
"""GitHub tells times in whole seconds, and a link to an issue counts there as a change of it."""


def linked(text: str, full_name: str) -> list[int]:
    """Return the issues and pull requests of a repository that a text names, in order."""
    name = re.escape(full_name)
    pattern = (
        rf"(?:(?<![\w/&#-])(?:{name})?#|(?<![\w-])GH-"
        rf"|https?://[^\s/]+/{name}/(?:issues|pull)/)(?P<number>[1-9][0-9]{{0,8}})(?![\w-])"
    )
    found = re.finditer(pattern, text, re.IGNORECASE)
    return list(dict.fromkeys(int(each["number"]) for each in found))


@dataclass(slots=True)
class Listener:
    """Hears what may be told to agents of one repository, as it stood at a moment.

    `author` opened the issue of the conversation, where it is one.
    """

    desk: Desk
    repository: Repository
    config: Config
    at: datetime
    author: str = ""
    _may: dict[str, bool] = field(default_factory=dict)

    async def may_speak(self, login: str) -> bool:
        """Say whether agents may read what a person wrote: those who may command them."""
        key = login.lower()
        if key not in self._may:
            self._may[key] = await may_speak(
                self.desk.threads, self.repository, login, self.config, self.author
            )
        return self._may[key]

    def stood(self, made: datetime | None, changed: datetime | None) -> bool:
        """Say whether a text stood when the command was given; not where GitHub does not say."""
        if made is None or changed is None:
            return False
        return made <= changed <= self.at + SAME_MOMENT

    async def comments(self, number: int, *, without: int | None = None) -> list[str]:
        """Tell what was said in a conversation; `without` is the command's own comment."""
        found = await self.desk.threads.comments(self.repository, number)
        before = [each for each in found if each.created_at <= self.at and each.id != without]
        return await self._told(before[-COMMENTS_MAX:])

    async def on_lines(self, number: int) -> list[str]:
        """Tell what was said on lines of a pull request."""
        found = await self.desk.threads.line_comments(self.repository, number)
        before = [each for each in found if each.created_at and each.created_at <= self.at]
        return await self._told(before[-COMMENTS_MAX:])

    async def thread(self, number: int) -> list[str]:
        """Tell of a linked issue or pull request; nothing where there is none to see."""
        try:
            issue = await self.desk.threads.issue(self.repository, number)
        except Refused as error:
            log.info("link not followed", repository=self.repository.id, error=str(error))
            return []
        told = [await self._issue(issue), *await self.comments(number)]
        return told + (await self.on_lines(number) if issue.is_pull else [])

    async def _issue(self, issue: Issue) -> str:
        kind = "Pull request" if issue.is_pull else "Issue"
        name = f"{kind} #{issue.number}"
        if issue.author_is_bot or not await self.may_speak(issue.author):
            return f"({name} is by {issue.author}, who may not speak to agents here: left out.)"
        if not self.stood(issue.created_at, issue.updated_at):
            return f"({name} was changed after the command was given: left out.)"
        return f"{name}, by {issue.author}: {_text(issue.title, issue.body)}"

    async def _told(self, found: Iterable[Comment | ReviewComment]) -> list[str]:
        told = []
        for each in found:
            if each.author_is_bot or not await self.may_speak(each.author):
                continue
            where = _place(each) if isinstance(each, ReviewComment) else ""
            who = f"{each.author}{where}"
            if self.stood(each.created_at, each.updated_at):
                told.append(f"{who}: {cut(visible(each.body))}")
            else:
                told.append(f"({who}: changed after the command was given: left out.)")
        return told


async def context_of(desk: Desk, spoken: Spoken, config: Config, request: str) -> str:
    """Tell of the conversation that a request was made in, and of what it links to."""
    here = spoken.conversation
    author = "" if here.is_pull else here.author
    heard = Listener(desk, spoken.repository, config, spoken.at, author)
    own = await _own(heard, spoken)
    told = [own] if own else []
    told += await heard.comments(here.number, without=spoken.comment)
    if here.is_pull:
        told += await heard.on_lines(here.number)
    told += await _linked(heard, "\n\n".join([visible(request), *told]), {here.number})
    return bounded(told)


async def _linked(heard: Listener, text: str, known: set[int]) -> list[str]:
    numbers = [n for n in linked(text, heard.repository.full_name) if n not in known]
    told = []
    for number in numbers[:LINKED_MAX]:
        told += await heard.thread(number)
    return told


async def _own(heard: Listener, spoken: Spoken) -> str:
    """Tell the text of the issue itself, as the webhook brought it with the command."""
    here = spoken.conversation
    if not here.body.strip() or not here.author or here.author == heard.desk.bot:
        return ""
    if not await heard.may_speak(here.author):
        return f"(This issue is by {here.author}, who may not speak to agents here: left out.)"
    if spoken.found:
        # No webhook told of the command, so the text was read long after it.
        now = await heard.desk.threads.issue(heard.repository, here.number)
        if not heard.stood(now.created_at, now.updated_at):
            return "(This issue was changed after the command was given: left out.)"
    return _text(here.title, here.body)


def bounded(told: Sequence[str]) -> str:
    """Join texts as far as there is room; a remark counts those that are left out."""
    kept: list[str] = []
    room = CONTEXT_MAX
    for each in told:
        room -= len(each) + 2
        if room < 0:
            break
        kept.append(each)
    left = len(told) - len(kept)
    return "\n\n".join([*kept, f"(And {left} more.)"] if left else kept)


def _text(title: str, body: str) -> str:
    return cut(visible(f"{title}\n\n{body}"))


def cut(text: str) -> str:
    """Cut a text to what is told of one."""
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX].rstrip()} […]"


def _place(comment: ReviewComment) -> str:
    line = f", line {comment.line}" if comment.line else ""
    return f", on `{comment.path}`{line}"
