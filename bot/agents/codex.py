"""Codex by its own program: `codex exec --json`, one process a prompt.

It asks for no permission and hears nothing while it works: a further message is a further process,
which goes on with the same session.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from bot.agents.events import Diff, Event, Kind, Message, Note, Plan, Status, Tokens, ToolCall
from bot.agents.lines import MALFORMED, Lines
from bot.agents.session import Broken, LoginWanted, Session, SessionLost, Setting, Stop
from bot.sandbox.model import Ended, Talk

# Its own sandbox cannot be nested in ours, which contains it.
ARGUMENTS: Final = (
    *("exec", "--json", "--skip-git-repo-check"),
    "--dangerously-bypass-approvals-and-sandbox",
)

_KINDS: Mapping[str, Kind] = {
    "command_execution": "run",
    "file_change": "edit",
    "mcp_tool_call": "other",
    "web_search": "fetch",
}
_STATUSES: Mapping[str, Status] = {
    "in_progress": "running",
    "completed": "done",
    "failed": "failed",
    "declined": "failed",
}
_LOST = "no rollout found"
_LOGIN = ("codex login", "not logged in", "Missing environment variable")


class CodexSession(Session):
    """A session with `codex exec`."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._name = ""
        self._talk: Talk | None = None
        self._told = Tokens(0, 0)

    @property
    def name(self) -> str:
        """The thread's id, known with the first message."""
        return self._name

    async def start(self, resume: str) -> str:
        """See `Session.start`; the program starts with the prompt."""
        self._name = resume
        return resume

    async def prompt(self, text: str) -> Stop:
        """See `Session.prompt`."""
        resumed = ("resume", self._name) if self._name else ()
        async with self._setting.open((*ARGUMENTS, *resumed, "-")) as talk:
            self._talk = talk
            await _say(talk, text)
            self._setting.journal.raw("to", text)
            return await self._listen(Lines(talk, self._setting.journal))

    async def _listen(self, lines: Lines) -> Stop:
        words = ""
        async for message in lines:
            try:
                stop = self._take(message, words)
            except MALFORMED:
                if lines.puzzled():
                    break
                continue
            lines.understood()
            if message.get("type") == "error":
                words = str(message.get("message"))
            if stop is not None:
                return stop
        if words:
            return _failed(words)
        if not lines.heard and _LOST in (await self.fate()).tail:
            self._name = ""
            raise SessionLost(_LOST)
        raise Broken(lines.trouble)

    def _take(self, message: Mapping[str, Any], words: str) -> Stop | None:
        """Take one message; the reason to stop, when it is that. `words` are its last complaint."""
        match message.get("type"):
            case "thread.started":
                self._name = str(message.get("thread_id"))
            case "turn.completed":
                self._setting.journal.take(self._tokens(message.get("usage") or {}))
                return Stop("done")
            case "turn.failed":
                return _failed(str((message.get("error") or {}).get("message") or words))
            case "error":
                self._setting.journal.note(str(message.get("message")))
            case kind:
                for event in _events(str(kind), message.get("item") or {}):
                    self._setting.journal.take(event)
        return None

    async def steer(self, text: str) -> bool:
        """It hears nothing while it works."""
        return False

    async def cancel(self) -> None:
        """It takes no such request, so it is ended; the session's files are written as it goes."""
        if self._talk is not None:
            await self._talk.kill()

    async def close(self) -> None:
        """Nothing is left: each prompt has ended its own program."""

    async def fate(self) -> Ended:
        """See `Session.fate`."""
        assert self._talk is not None, "prompted before its end is waited for"
        return await self._talk.ended()

    def _tokens(self, usage: Mapping[str, Any]) -> Tokens:
        """What this prompt took: it counts from the beginning of the session, we from ours."""
        keys = ("input_tokens", "output_tokens", "cached_input_tokens")
        told = Tokens(*(int(usage.get(key) or 0) for key in keys))
        before, self._told = self._told, told
        return Tokens(
            told.input - before.input, told.output - before.output, told.cached - before.cached
        )


async def _say(talk: Talk, text: str) -> None:
    try:
        talk.writer.write(text.encode("utf-8", "replace"))
        await talk.writer.drain()
        talk.writer.close()
    except (ConnectionError, RuntimeError) as error:
        raise Broken("ended before it read its prompt") from error


def _failed(words: str) -> Stop:
    if any(each.casefold() in words.casefold() for each in _LOGIN):
        raise LoginWanted(words)
    return Stop("failed", words)


def _events(kind: str, item: Mapping[str, Any]) -> Iterable[Event]:
    match item.get("type"):
        case "agent_message" if kind == "item.completed":
            yield Message(f"{item.get('text')}\n")
        case "reasoning" if kind == "item.completed":
            yield Message(f"{item.get('text')}\n", thought=True)
        case "todo_list":
            yield _plan(item.get("items") or ())
        case "error":
            yield Note(str(item.get("message")))
        case "command_execution" | "file_change" | "mcp_tool_call" | "web_search" as what:
            yield from _call(what, item)


def _call(what: str, item: Mapping[str, Any]) -> Iterable[Event]:
    changes = [each for each in item.get("changes") or () if isinstance(each, dict)]
    paths = tuple(str(each.get("path")) for each in changes)
    title = str(item.get("command") or item.get("tool") or item.get("query") or " ".join(paths))
    status = _STATUSES.get(str(item.get("status")), "running")
    same = hashlib.blake2b(f"{what} {title}".encode(), digest_size=8).hexdigest()
    yield ToolCall(str(item.get("id")), title, _KINDS[what], status, paths, same)
    if status == "done":
        yield from (Diff(path, 0, 0) for path in paths)


def _plan(items: Iterable[Any]) -> Plan:
    steps = [each for each in items if isinstance(each, dict)]
    return Plan(
        tuple(("done" if s.get("completed") else "pending", str(s.get("text"))) for s in steps)
    )
