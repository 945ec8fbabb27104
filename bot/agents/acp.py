"""Agents that speak the Agent Client Protocol. The one place that knows agent-client-protocol.

Notifications are read here, in the order in which they come, and not by the library's own reader,
which gives each a task of its own: what belongs to a session's past is told from what is new by
the answer that stands between them. A line that is no message is noted, and passed over.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from pathlib import PurePosixPath
from typing import Any, cast

import acp
from acp import schema
from pydantic import ValidationError

from bot.agents.events import Diff, Event, Kind, Message, Permission, Plan, Status, Tokens, ToolCall
from bot.agents.lines import Lines
from bot.agents.session import MODE, Broken, LoginWanted, Session, Setting, Stop, Why
from bot.sandbox.model import Ended, Talk

LOGIN_WANTED = -32000
"""The protocol's code for an agent that wants a login."""

PATHS_READ = 20
"""Paths of a call that are looked at."""

_KINDS: Mapping[str, Kind] = {
    "read": "read",
    "edit": "edit",
    "delete": "delete",
    "move": "move",
    "search": "search",
    "execute": "run",
    "think": "think",
    "fetch": "fetch",
}
_STATUSES: Mapping[str, Status] = {
    "pending": "pending",
    "in_progress": "running",
    "completed": "done",
    "failed": "failed",
}
_WHY: Mapping[str, Why] = {
    "end_turn": "done",
    "cancelled": "cancelled",
    "refusal": "refused",
    "max_tokens": "limit",
    "max_turn_requests": "limit",
}
_PATH_KEYS = ("file_path", "filePath", "path", "abs_path", "notebook_path", "fileName")
_COMMAND_KEYS = ("command", "cmd")


class AcpSession(Session):
    """A session with an ACP agent."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._stack = AsyncExitStack()
        self._talk: Talk | None = None
        self._wire: _Wire | None = None
        self._peer: Any = None
        self._name = ""

    @property
    def name(self) -> str:
        """The session's id, as the agent gave it."""
        return self._name

    async def start(self, resume: str) -> str:
        """See `Session.start`."""
        talk = self._talk = await self._stack.enter_async_context(self._setting.open(()))
        hearer = _Hearer(self._setting)
        wire = self._wire = _Wire(Lines(talk, self._setting.journal), hearer)
        self._peer = acp.connect_to_agent(cast(acp.Client, hearer), wire)
        self._stack.push_async_callback(self._peer.close)
        with _told(wire):
            able = (await self._initialize()).agent_capabilities
            self._name = await self._session(able, resume, hearer)
            await self._set_mode(hearer.modes)
        return self._name

    async def _initialize(self) -> schema.InitializeResponse:
        # No file and no terminal of ours: the agent reads, writes and runs in its sandbox. What it
        # would ask of us, the bot would do with its own rights.
        made: schema.InitializeResponse = await self._peer.initialize(
            protocol_version=acp.PROTOCOL_VERSION,
            client_capabilities=schema.ClientCapabilities(),
            client_info=schema.Implementation(name="orchestrate", version="1"),
        )
        return made

    async def _session(
        self, able: schema.AgentCapabilities | None, resume: str, hearer: _Hearer
    ) -> str:
        where = {"cwd": self._setting.cwd, "mcp_servers": []}
        if resume and able is not None and (how := _resumer(self._peer, able)):
            try:
                hearer.replaying = True
                hearer.know(await how(session_id=resume, **where))
            except acp.RequestError as error:
                self._setting.journal.note(f"The session could not be resumed: {error}; a new one.")
            else:
                return resume
            finally:
                hearer.replaying = False
        made = await self._peer.new_session(**where)
        hearer.know(made)
        return str(made.session_id)

    async def _set_mode(self, offered: Iterable[str]) -> None:
        mode = self._setting.options.get(MODE)
        if mode is None:
            return
        if mode in offered:
            await self._peer.set_session_mode(session_id=self._name, mode_id=mode)
        else:
            self._setting.journal.note(f"The agent offers no mode `{mode}`.")

    async def prompt(self, text: str) -> Stop:
        """See `Session.prompt`."""
        assert self._wire is not None, "started before it is prompted"
        with _told(self._wire):
            try:
                made = await self._peer.prompt(session_id=self._name, prompt=[acp.text_block(text)])
            except acp.RequestError as error:
                if error.code == LOGIN_WANTED:
                    raise
                return Stop("failed", _words(error))
        if tokens := _tokens(made):
            self._setting.journal.take(tokens)
        return Stop(_WHY.get(made.stop_reason, "done"))

    async def steer(self, text: str) -> bool:
        """The protocol knows one prompt at a time."""
        return False

    async def cancel(self) -> None:
        """See `Session.cancel`."""
        if self._name and self._peer is not None:
            with contextlib.suppress(ConnectionError, Broken):
                await self._peer.cancel(session_id=self._name)

    async def close(self) -> None:
        """See `Session.close`."""
        await self._stack.aclose()

    async def fate(self) -> Ended:
        """See `Session.fate`."""
        assert self._talk is not None, "started before its end is waited for"
        return await self._talk.ended()


def _resumer(peer: Any, able: schema.AgentCapabilities) -> Any:
    """How a session is resumed: without its past where the agent can, else with it."""
    sessions = able.session_capabilities
    if sessions is not None and sessions.resume is not None:
        return peer.resume_session
    return peer.load_session if able.load_session else None


@contextlib.contextmanager
def _told(wire: _Wire) -> Any:
    """Turn the library's errors into ours."""
    try:
        yield
    except ConnectionError as error:
        raise Broken(wire.trouble) from error
    except ValidationError as error:
        raise Broken("answered what the protocol does not know") from error
    except acp.RequestError as error:
        if error.code == LOGIN_WANTED:
            raise LoginWanted(_words(error)) from error
        raise Broken(f"answered with an error: {_words(error)}") from error


def _words(error: acp.RequestError) -> str:
    data = error.data
    more = data.get("details") or data.get("message") if isinstance(data, dict) else data
    return f"{error} {more}" if isinstance(more, str) and more not in str(error) else str(error)


class _Wire:
    """Messages both ways; the library's `Transport`."""

    def __init__(self, lines: Lines, hearer: _Hearer) -> None:
        self._lines = lines
        self._hearer = hearer

    @property
    def trouble(self) -> str:
        return self._lines.trouble

    async def send(self, message: dict[str, Any]) -> None:
        await self._lines.send(message)

    async def receive(self) -> dict[str, Any] | None:
        """The next request or answer; None at the end."""
        while (message := await self._lines.next(whole=False)) is not None:
            self._lines.understood()
            if message.get("method") == "session/update":
                self._hearer.update(message.get("params"))
            elif "id" not in message or isinstance(message["id"], int | str):
                return message
        return None

    async def close(self) -> None:
        return None


class _Hearer:
    """What the agent may ask of its client, and what it tells it."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._calls: dict[str, ToolCall] = {}
        self.replaying = False
        self.modes: list[str] = []

    def know(self, made: Any) -> None:
        """Learn what an opened session offers."""
        modes = getattr(made, "modes", None)
        self.modes = [mode.id for mode in modes.available_modes] if modes is not None else []

    def update(self, params: Any) -> None:
        """Take a notification; one of a kind that we do not know is none of our business."""
        self._setting.journal.touch()
        if self.replaying:
            return
        try:
            told = schema.SessionNotification.model_validate(params)
        except ValidationError:
            return
        for event in self._events(told.update):
            self._setting.journal.take(event)

    def _events(self, update: Any) -> Iterable[Event]:
        match update:
            case schema.AgentMessageChunk() | schema.AgentThoughtChunk():
                text = getattr(update.content, "text", None)
                if text:
                    yield Message(text, isinstance(update, schema.AgentThoughtChunk))
            case schema.AgentPlanUpdate():
                yield Plan(tuple((_status(each.status), each.content) for each in update.entries))
            case schema.ToolCallStart() | schema.ToolCallProgress():
                yield from self._call(update)
            case schema.UsageUpdate():
                yield from _cost(update)

    def _call(self, update: Any) -> Iterable[Event]:
        known = self._calls.get(update.tool_call_id)
        call = _merged(known, update)
        self._calls[call.id] = call
        if call != known:
            yield call
        if call.status == "done" and (known is None or known.status != "done"):
            yield from _diffs(update.content, self._setting.cwd)

    # -- what the library calls, by the names that it knows

    def on_connect(self, conn: Any) -> None:
        """Nothing to do yet."""

    async def request_permission(
        self, session_id: str, tool_call: Any, options: list[Any], **_: Any
    ) -> schema.RequestPermissionResponse:
        """Answer by policy; what is denied is noted."""
        call = _merged(self._calls.get(tool_call.tool_call_id), tool_call)
        given = tool_call.raw_input
        command = _first(given, _COMMAND_KEYS)
        decision = self._setting.permissions.decide(
            call.kind, call.paths, command or (call.title if call.kind == "run" else "")
        )
        self._setting.journal.take(Permission(call.title, decision.allowed, decision.reason))
        wanted = ("allow_once", "allow_always") if decision.allowed else ("reject_once",)
        for kind in wanted:
            for option in options:
                if option.kind == kind:
                    chosen = schema.AllowedOutcome(outcome="selected", option_id=option.option_id)
                    return schema.RequestPermissionResponse(outcome=chosen)
        denied = schema.DeniedOutcome(outcome="cancelled")
        return schema.RequestPermissionResponse(outcome=denied)


def _merged(known: ToolCall | None, update: Any) -> ToolCall:
    """A call, with what an update says anew."""
    given = update.raw_input
    paths = tuple(dict.fromkeys(_paths(update)))[:PATHS_READ]
    title = update.title or (known.title if known else "") or "a tool"
    kind = _KINDS.get(update.kind or "", known.kind if known else "other")
    status = _STATUSES.get(update.status or "", known.status if known else "pending")
    same = _same(kind, title, given) if given else (known.same if known else "")
    return ToolCall(
        id=update.tool_call_id,
        title=title,
        kind=kind,
        status=status,
        paths=paths or (known.paths if known else ()),
        same=same,
    )


def _paths(update: Any) -> Iterable[str]:
    yield from (each.path for each in update.locations or ())
    for content in update.content or ():
        if isinstance(content, schema.FileEditToolCallContent):
            yield content.path
    if path := _first(update.raw_input, _PATH_KEYS):
        yield path


def _first(given: Any, keys: Iterable[str]) -> str:
    if not isinstance(given, dict):
        return ""
    for key in keys:
        value = given.get(key)
        if isinstance(value, list):
            value = " ".join(map(str, value))
        if isinstance(value, str) and value:
            return value
    return ""


def _same(kind: str, title: str, given: Any) -> str:
    text = json.dumps([kind, given], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _diffs(contents: Iterable[Any] | None, cwd: str) -> Iterable[Diff]:
    for content in contents or ():
        if isinstance(content, schema.FileEditToolCallContent):
            path = PurePosixPath(content.path)
            shown = path.relative_to(cwd) if path.is_relative_to(cwd) else path
            old = (content.old_text or "").count("\n")
            yield Diff(str(shown), content.new_text.count("\n"), old)


def _status(status: Any) -> Status:
    return _STATUSES.get(str(status), "pending")


def _tokens(made: schema.PromptResponse) -> Tokens | None:
    if usage := made.usage:
        return Tokens(usage.input_tokens, usage.output_tokens, usage.cached_read_tokens or 0)
    quota = (made.field_meta or {}).get("quota")
    counted = quota.get("token_count") if isinstance(quota, dict) else None
    if not isinstance(counted, dict):
        return None
    given, written = counted.get("input_tokens"), counted.get("output_tokens")
    if isinstance(given, int) and isinstance(written, int):
        return Tokens(given, written)
    return None


def _cost(update: schema.UsageUpdate) -> Iterable[Tokens]:
    cost = update.cost
    if cost is not None and cost.currency == "USD" and cost.amount:
        yield Tokens(0, 0, usd=cost.amount)
