"""The agents of a server, as runs ask for them: a name becomes a command, and a turn of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from bot.agents.command import CommandAgent
from bot.agents.model import Turn, TurnEnded
from bot.agents.registry import find, require_network
from bot.errors import UserError
from bot.runs.ports import TurnOrder, TurnReport
from bot.sandbox.model import Sandbox
from policies.config import Config


class AgentDesk:
    """Fulfils the runs' port to agents.

    `configured` are the operator's commands by name, which win over a repository's; `default` is
    the agent of runs that name none.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        *,
        tools: tuple[Path, ...],
        configured: Mapping[str, str],
        default: str,
        output_bytes: int,
    ) -> None:
        self._sandbox = sandbox
        self._tools = tools
        self._configured = configured
        self._default = default
        self._output_bytes = output_bytes

    def choose(self, named: str, config: Config) -> str:
        """Name the agent for a run; `UserError` when there is no such agent."""
        commands = self._commands(config)
        only = next(iter(commands)) if len(commands) == 1 else ""
        name = named or config.agent or self._default or only
        if not name:
            known = ", ".join(f"`{each}`" for each in sorted(commands))
            raise UserError(
                f"Say which agent works, `--agent NAME`: {known}."
                if known
                else "No agent is set up here: name one under `agents:` in "
                "`.github/orchestrate.yml`, or in ORCHESTRATE_AGENTS on the server."
            )
        find(name, commands, tools=self._tools)
        return name

    async def turn(
        self, order: TurnOrder, *, stop: asyncio.Event, output: Callable[[str], None]
    ) -> TurnReport:
        """Give an agent one prompt; return when it and all that it started has ended."""
        commands = self._commands(order.config)
        command = find(order.agent, commands, tools=self._tools)
        require_network(order.agent, commands, sandbox=self._sandbox.name)
        agent = CommandAgent(
            name=order.agent, command=command, sandbox=self._sandbox, tools=self._tools
        )
        turn = Turn(
            number=order.number,
            prompt=order.prompt,
            workspace=order.place.workspace,
            home=order.place.home,
            log=order.log,
            seconds=order.seconds,
            output_bytes=self._output_bytes,
            namespace=order.place.namespace,
        )
        ended = await agent.turn(turn, stop=stop, on_output=output)
        return _report(order, ended)

    def _commands(self, config: Config) -> dict[str, str]:
        theirs = {name: agent.command for name, agent in config.agents.items()}
        return {**theirs, **self._configured}


def _report(order: TurnOrder, ended: TurnEnded) -> TurnReport:
    kinds = {"ended": "ended", "stopped": "stopped"}
    outcome = kinds.get(ended.outcome, "failed")
    reason = _why(order, ended) if outcome == "failed" else ""
    return TurnReport(outcome, reason, ended.summary, ended.seconds)


def _why(order: TurnOrder, ended: TurnEnded) -> str:
    name = f"The agent `{order.agent}`"
    if ended.outcome == "timed_out":
        return f"{name} did not end within its {order.seconds / 60:g} minutes."
    if ended.outcome == "too_much_output":
        return f"{name} printed more than the server keeps, and was stopped."
    said = ended.summary.strip().splitlines()
    last = f": {said[-1].replace('`', '')[:300]}" if said else "."
    return f"{name} failed with exit code {ended.code}{last}"
