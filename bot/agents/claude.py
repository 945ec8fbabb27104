"""Claude Code by its own program: `claude -p`, stream-json both ways, with its control protocol.

A message that comes while it works is taken up at its next step. It echoes each message that it
takes up, and a result counts only when nothing is outstanding.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

from bot.agents.events import Event, Kind, Message, Permission, Plan, Status, Tokens, ToolCall
from bot.agents.lines import MALFORMED, Lines
from bot.agents.session import Broken, LoginWanted, Session, SessionLost, Setting, Stop
from bot.sandbox.model import Ended, Talk

ARGUMENTS: Final = (
    *("-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"),
    *("--permission-prompt-tool", "stdio", "--replay-user-messages"),
)

_KINDS: Mapping[str, Kind] = {
    "Read": "read",
    "Glob": "search",
    "Grep": "search",
    "LS": "search",
    "Edit": "edit",
    "MultiEdit": "edit",
    "Write": "edit",
    "NotebookEdit": "edit",
    "Bash": "run",
    "WebFetch": "fetch",
    "WebSearch": "fetch",
    "TodoWrite": "think",
}
_STATUSES: Mapping[str, Status] = {
    "pending": "pending",
    "in_progress": "running",
    "completed": "done",
}
_PATH_KEYS = ("file_path", "path", "notebook_path")
# What it says when there is no key, or one that does not hold.
_LOST = "No conversation found"
_LOGIN = ("/login", "setup-token")


class ClaudeSession(Session):
    """A session with `claude`."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._stack = AsyncExitStack()
        self._talk: Talk | None = None
        self._lines: Lines | None = None
        self._name = ""
        self._outstanding = 0
        self._requests = 0
        self._calls: dict[str, ToolCall] = {}

    @property
    def name(self) -> str:
        """The session's id, known with the first message."""
        return self._name

    async def start(self, resume: str) -> str:
        """See `Session.start`."""
        more = (*ARGUMENTS, *(("--resume", resume) if resume else ()))
        talk = self._talk = await self._stack.enter_async_context(self._setting.open(more))
        self._lines = Lines(talk, self._setting.journal)
        self._name, self._outstanding = resume, 0
        return resume

    async def prompt(self, text: str) -> Stop:
        """See `Session.prompt`."""
        await self.steer(text)
        assert self._lines is not None, "started before it is prompted"
        async for message in self._lines:
            try:
                stop = await self._take(message)
            except MALFORMED:
                if self._lines.puzzled():
                    break
                continue
            self._lines.understood()
            if stop is not None:
                return stop
        raise Broken(self._lines.trouble)

    async def _take(self, message: Mapping[str, Any]) -> Stop | None:
        """Take one message; the reason to stop, when it is that."""
        kind = message.get("type")
        self._name = str(message.get("session_id") or self._name)
        if kind == "control_request":
            await self._control(message)
        elif kind == "user" and message.get("isReplay"):
            self._outstanding -= 1
        elif kind == "result":
            self._setting.journal.take(_tokens(message))
            # What was taken up but not echoed is not waited for after a failure.
            if self._outstanding <= 0 or message.get("is_error"):
                return _stop(message)
        else:
            for event in self._events(message):
                self._setting.journal.take(event)
        return None

    async def steer(self, text: str) -> bool:
        """It takes the message up at its next step."""
        content = [{"type": "text", "text": text}]
        self._outstanding += 1
        await self._send({"type": "user", "message": {"role": "user", "content": content}})
        return True

    async def cancel(self) -> None:
        """See `Session.cancel`."""
        with contextlib.suppress(Broken):
            await self._request({"subtype": "interrupt"})

    async def close(self) -> None:
        """See `Session.close`."""
        await self._stack.aclose()

    async def fate(self) -> Ended:
        """See `Session.fate`."""
        assert self._talk is not None, "started before its end is waited for"
        return await self._talk.ended()

    async def _request(self, request: Mapping[str, Any]) -> None:
        self._requests += 1
        made = {"type": "control_request", "request_id": f"ours-{self._requests}"}
        await self._send({**made, "request": request})

    async def _send(self, message: Mapping[str, Any]) -> None:
        assert self._lines is not None, "started before anything is said"
        await self._lines.send(message)

    async def _control(self, message: Mapping[str, Any]) -> None:
        """Answer a question by policy; what is denied is noted."""
        request = message.get("request") or {}
        if request.get("subtype") != "can_use_tool":
            error = {"subtype": "error", "error": "This is not known here."}
            await self._answer(message, error)
            return
        name, given = str(request.get("tool_name")), request.get("input") or {}
        call = _call("", name, given)
        command = str(given.get("command") or "")
        decision = self._setting.permissions.decide(call.kind, call.paths, command)
        self._setting.journal.take(Permission(call.title, decision.allowed, decision.reason))
        response: dict[str, Any] = {"behavior": "deny", "message": decision.reason}
        if decision.allowed:
            response = {"behavior": "allow", "updatedInput": given}
        await self._answer(message, {"subtype": "success", "response": response})

    async def _answer(self, message: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        response = {**answer, "request_id": message.get("request_id")}
        await self._send({"type": "control_response", "response": response})

    def _events(self, message: Mapping[str, Any]) -> Iterable[Event]:
        if message.get("parent_tool_use_id"):
            return  # a helper of its own; what it does is told by the call that started it
        content = (message.get("message") or {}).get("content")
        for part in content if isinstance(content, list) else ():
            match part.get("type"):
                case "text" if message["type"] == "assistant":
                    yield Message(str(part.get("text")) + "\n")
                case "thinking":
                    yield Message(str(part.get("thinking")) + "\n", thought=True)
                case "tool_use":
                    yield from self._called(part)
                case "tool_result":
                    yield from self._returned(part)

    def _called(self, part: Mapping[str, Any]) -> Iterable[Event]:
        name, given = str(part.get("name")), part.get("input") or {}
        if name == "TodoWrite":
            yield _plan(given)
        call = self._calls[str(part.get("id"))] = _call(str(part.get("id")), name, given)
        yield call

    def _returned(self, part: Mapping[str, Any]) -> Iterable[Event]:
        known = self._calls.pop(str(part.get("tool_use_id")), None)
        if known is not None:
            status: Status = "failed" if part.get("is_error") else "done"
            yield ToolCall(known.id, known.title, known.kind, status, known.paths, known.same)


def _call(number: str, name: str, given: Mapping[str, Any]) -> ToolCall:
    paths = tuple(str(given[key]) for key in _PATH_KEYS if given.get(key))
    what = given.get("command") or (paths[0] if paths else given.get("description") or "")
    written = json.dumps([name, given], sort_keys=True)
    return ToolCall(
        id=number,
        title=f"{name} {what}".strip(),
        kind=_KINDS.get(name, "other"),
        status="running",
        paths=paths,
        same=hashlib.blake2b(written.encode(), digest_size=8).hexdigest(),
    )


def _plan(given: Mapping[str, Any]) -> Plan:
    todos = [each for each in given.get("todos") or () if isinstance(each, dict)]
    steps = ((_STATUSES.get(t.get("status", ""), "pending"), str(t.get("content"))) for t in todos)
    return Plan(tuple(steps))


def _tokens(message: Mapping[str, Any]) -> Tokens:
    usage = message.get("usage") or {}
    return Tokens(
        int(usage.get("input_tokens") or 0),
        int(usage.get("output_tokens") or 0),
        int(usage.get("cache_read_input_tokens") or 0),
        message.get("total_cost_usd"),
    )


def _stop(message: Mapping[str, Any]) -> Stop:
    words = str(message.get("result") or "; ".join(map(str, message.get("errors") or ())))
    reason = str(message.get("terminal_reason") or "")
    if reason.startswith("aborted"):
        return Stop("cancelled")
    if _LOST in words and message.get("is_error"):
        raise SessionLost(words)
    if any(each in words for each in _LOGIN) and message.get("is_error"):
        raise LoginWanted(words)
    if message.get("subtype") in ("error_max_turns", "error_max_budget_usd"):
        return Stop("limit")
    # It says `success` of a request that the model's server refused, too.
    if message.get("is_error") or message.get("subtype") != "success":
        return Stop("failed", words)
    return Stop("done")
