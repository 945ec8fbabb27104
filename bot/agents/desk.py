"""The agents of a server, as runs ask for them: a name becomes a program, and a turn of it.

Here a turn is given its way out: a visit at the gateway, for the makers whose models the agent
uses. What it used and where it was not let is told by that visit, never by the agent.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Final

from bot.agents.command import CommandAgent
from bot.agents.known import Given
from bot.agents.model import Agent, Turn, TurnEnded
from bot.agents.program import SILENT_SECONDS, ProgramAgent
from bot.agents.registry import Found, Registry, keys_of
from bot.errors import UserError
from bot.runs.ports import Progress, Purse, TurnOrder, TurnReport
from bot.sandbox.environment.within import Within
from bot.sandbox.gateway import Allowance, Gateway, Pass, Visit
from bot.sandbox.model import Sandbox
from bot.usage import Usage
from policies.config import Agent as Configured
from policies.config import Config

TELL_SECONDS: Final = 1.0
"""How often it is told what a turn has used: as often as people look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What the operator decides about agents.

    commands: their own, by name; these win over a repository's. makers: whose models each of those
    may use. default: the agent of runs that name none. models: the model of an agent, by its name.
    hosts: what every agent may reach. silent: seconds without a sign of life.
    """

    commands: Mapping[str, Configured] = field(default_factory=dict)
    makers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    default: str = ""
    models: Mapping[str, str] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()
    silent: float = SILENT_SECONDS


class AgentDesk:
    """Fulfils the runs' port to agents.

    own: the name of an agent that was given as a command with a request, by whoever sits at the
    machine; it may use every model that they have a key for. secrets: what no log may show.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        registry: Registry,
        choices: Choices,
        output_bytes: int,
        gateway: Gateway | None = None,
        own: str = "",
        secrets: frozenset[str] = frozenset(),
    ) -> None:
        self._sandbox = sandbox
        self._registry = registry
        self._choices = choices
        self._output_bytes = output_bytes
        self._gateway = gateway
        self._own = own
        self._secrets = secrets

    def choose(self, named: str, config: Config) -> str:
        """Name the agent for a run; `UserError` when there is no such agent, or no key for it."""
        commands = self._commands(config)
        only = next(iter(commands)) if len(commands) == 1 else ""
        name = named or config.agent or self._choices.default or only
        if not name:
            known = ", ".join(f"`{each}`" for each in sorted(commands))
            raise UserError(
                f"Say which agent works, `--agent NAME`: {known}."
                if known
                else "No agent is set up here: name one under `agents:` in "
                "`.github/orchestrate.yml`, or in ORCHESTRATE_AGENTS on the server."
            )
        if name not in commands:
            self._known(name, commands)
        return name

    async def turn(
        self, order: TurnOrder, *, stop: asyncio.Event, output: Callable[[str], None]
    ) -> TurnReport:
        """Give an agent one prompt; return when it and all that it started has ended."""
        commands = self._commands(order.config)
        configured = commands.get(order.agent)
        found = None if configured else self._known(order.agent, commands)
        async with self._visit(order, found) as visit:
            agent, how = await self._agent(order, configured, found, visit)
            turn = self._turn(order, visit, how)
            async with _telling(order.progress, visit), _allowing(order.purse, visit):
                ended = await agent.turn(turn, stop=stop, on_output=output)
            return _report(order, ended, visit, how)

    def _known(self, name: str, others: Mapping[str, Configured]) -> Found:
        found = self._registry.require(name, others)
        if self._gateway is not None and not self._makers(name, found):
            raise UserError(
                f"The agent `{name}` has no key for its model here: set {keys_of(found.product)} "
                "on the server."
            )
        return found

    def _makers(self, name: str, found: Found | None) -> frozenset[str]:
        """The makers whose models the agent may use, of those that there is a key for."""
        keys = self._gateway.configured() if self._gateway is not None else frozenset()
        if found is not None:
            return keys.intersection(found.product.makers)
        return keys if name == self._own else keys.intersection(self._choices.makers.get(name, ()))

    @contextlib.asynccontextmanager
    async def _visit(self, order: TurnOrder, found: Found | None) -> AsyncIterator[Visit | None]:
        """Open what the agent may go out by; None where there is nothing to reach."""
        makers, hosts = self._makers(order.agent, found), self._choices.hosts
        if self._gateway is None or not (makers or hosts):
            yield None
            return
        allowance = Allowance(order.allowance_usd, order.allowance_tokens)
        async with self._gateway.open(Pass(makers, hosts, allowance)) as visit:
            yield visit

    async def _agent(
        self,
        order: TurnOrder,
        configured: Configured | None,
        found: Found | None,
        visit: Visit | None,
    ) -> tuple[Agent, str]:
        """Make the agent; and the word that its sessions begin with, since others' are not its."""
        if found is not None:
            return await self._program(order, found, visit), found.way.by
        assert configured is not None, "an agent is configured or known"
        if configured.speaks == "acp":
            command = ("/bin/sh", "-c", configured.command)
            agent = ProgramAgent(
                name=order.agent,
                argv=command,
                speaks="acp",
                sandbox=self._within(order),
                readable=self._registry.tools,
                silent=self._choices.silent,
            )
            return agent, "acp"
        return CommandAgent(
            name=order.agent,
            command=configured.command,
            sandbox=self._within(order),
            tools=self._registry.tools,
        ), ""

    async def _program(self, order: TurnOrder, found: Found, visit: Visit | None) -> ProgramAgent:
        launch = await self._registry.launch(found)
        model = self._choices.models.get(order.agent) or self._choices.models.get(
            found.product.name, ""
        )
        needs = found.product.needs(Given(visit.env if visit else {}, model))
        return ProgramAgent(
            name=order.agent,
            argv=(*needs.before, *launch.argv, *found.way.arguments, *needs.arguments),
            speaks=found.way.speaks,
            sandbox=self._within(order),
            readable=(*launch.readable, *self._registry.tools),
            env=needs.env,
            files=needs.files,
            options=found.way.options,
            silent=self._choices.silent,
        )

    def _within(self, order: TurnOrder) -> Within:
        """The sandbox, in which programs of the repository's environment come first."""
        return Within(self._sandbox, order.place.env, order.place.path)

    def _turn(self, order: TurnOrder, visit: Visit | None, how: str) -> Turn:
        by, _, session = order.session.partition(":")
        place = order.place
        return Turn(
            number=order.number,
            prompt=order.prompt,
            workspace=place.workspace,
            home=place.home,
            log=order.log,
            seconds=order.seconds,
            output_bytes=self._output_bytes,
            namespace=place.namespace,
            session=session if by == how else "",
            env={**place.env, **(visit.env if visit else {})},
            readable=place.readable,
            doors=visit.doors if visit else (),
            secrets=self._secrets | (visit.secrets if visit else frozenset()),
            config=order.config,
            steer=order.steer,
            watched=visit,
            on_session=lambda name: order.progress.session(f"{how}:{name}"),
        )

    def _commands(self, config: Config) -> dict[str, Configured]:
        return {**config.agents, **self._choices.commands}


@contextlib.asynccontextmanager
async def _telling(progress: Progress, visit: Visit | None) -> AsyncIterator[None]:
    """Tell what a turn has used while it is under way, for those who look, and for the record."""
    if visit is None:
        yield
        return

    async def tell() -> None:
        told = Usage()
        while True:
            await asyncio.sleep(TELL_SECONDS)
            if visit.usage != told:
                told = visit.usage
                progress.usage(told.model_dump(mode="json"))

    telling = asyncio.create_task(tell())
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.wait({telling})
        if visit.usage != Usage():
            progress.usage(visit.usage.model_dump(mode="json"))


@contextlib.asynccontextmanager
async def _allowing(purse: Purse, visit: Visit | None) -> AsyncIterator[None]:
    """Let a turn use what people give it while it is under way."""

    async def allow(visit: Visit) -> None:
        while True:
            visit.allow(Allowance(*await purse.changed()))

    if visit is None:
        yield
        return
    allowing = asyncio.create_task(allow(visit))
    try:
        yield
    finally:
        allowing.cancel()
        await asyncio.wait({allowing})


def _report(order: TurnOrder, ended: TurnEnded, visit: Visit | None, how: str) -> TurnReport:
    outcome, reason = ended.outcome, ""
    # An agent that was refused a request may say that it is done; it is not.
    if outcome != "stopped" and visit is not None and visit.spent.is_set():
        outcome = "budget"
    if outcome == "budget" and visit is not None:
        # More money would change nothing where it is a price that is wanting.
        outcome, reason = "failed" if visit.unpriced else "budget", visit.reason
    elif outcome not in ("ended", "stopped"):
        outcome, reason = "failed", _why(order, ended)
    return TurnReport(
        outcome,
        reason,
        ended.summary,
        ended.seconds,
        session=f"{how}:{ended.session}" if ended.session else "",
        usage=visit.usage.model_dump(mode="json") if visit else {},
        blocked=tuple(asdict(each) for each in visit.blocked) if visit else (),
    )


def _why(order: TurnOrder, ended: TurnEnded) -> str:
    """One sentence on what went wrong, with what it said itself."""
    name = f"The agent `{order.agent}`"
    detail = " ".join(ended.detail.replace("`", "'").split())[:300].rstrip(".")
    said = f": {detail}." if detail else "."
    match ended.outcome:
        case "timed_out":
            return f"{name} did not end within its {order.seconds / 60:g} minutes."
        case "too_much_output":
            return f"{name} printed more than the server keeps, and was stopped."
        case "out_of_memory":
            return f"{name} took more memory than a job may have, and was stopped."
        case "too_many_processes":
            return f"{name} started more processes than a job may have, and was stopped."
        case "refused":
            return f"{name} was not let in by its model's server{said}"
        case "login":
            return f"{name} wants a login, which nobody can give it here: set a key{said}"
        case "silent":
            return f"{name} gave no sign of life for too long, and was stopped{said}"
        case "looped":
            return f"{name} did the same over and over, and was stopped{said}"
        case "died":
            return f"{name} ended in the middle of its turn with exit code {ended.code}{said}"
        case "garbled":
            return f"{name} does not keep to its protocol{said}"
        case "nothing":
            return f"{name} ended its turn without a word or a deed."
        case _ if ended.code is None:
            return f"{name} failed{said}"
    words = ended.summary.strip().splitlines()
    last = f": {words[-1].replace('`', '')[:300]}" if words else "."
    return f"{name} failed with exit code {ended.code}{last}"
