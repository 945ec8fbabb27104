"""Any command as an agent: it reads the prompt, changes the workspace, and ends.

The prompt is data all the way: on standard input, in the file that `$ORCHESTRATE_PROMPT_FILE`
names, and in the same file where the command says `{prompt_file}`. It is never part of a line that
a shell reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bot.agents.model import Outcome, Turn, TurnEnded
from bot.sandbox.files import write_new
from bot.sandbox.model import Ended, Job, Sandbox
from bot.sandbox.shell import NOT_FOUND, missing_program

PLACEHOLDER = "{prompt_file}"
# What fits in a comment beside everything else that it says.
SUMMARY_LINES = 20
SUMMARY_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandAgent:
    """An agent that is a shell command.

    tools: folders that it may read, whose programs it can call.
    env: variables on top of the sandbox's own.
    """

    name: str
    command: str
    sandbox: Sandbox
    tools: tuple[Path, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)

    async def turn(
        self,
        turn: Turn,
        *,
        stop: asyncio.Event | None = None,
        on_output: Callable[[str], None] | None = None,
    ) -> TurnEnded:
        """Run the command once; see `Agent.turn`. Any exit code but 0 is a failure."""
        # The home is the agent's from turn to turn: a name that it cannot guess, and that must be
        # new, keeps it from laying a link where the prompt will be written.
        name = f"prompt-{secrets.token_hex(8)}.md"
        prompt = turn.prompt.encode("utf-8", "replace")
        turn.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_new(turn.home / name, prompt)
        try:
            job = self._job(turn, name, prompt)
            ended = await self.sandbox.run(job, stop=stop, on_output=on_output)
        finally:
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):
                (turn.home / name).unlink()
        return _ended(ended)

    def _job(self, turn: Turn, name: str, prompt: bytes) -> Job:
        file = f"{self.sandbox.places(turn.workspace, turn.home).home}/{name}"
        command = self.command.replace(PLACEHOLDER, shlex.quote(file))
        given = {"ORCHESTRATE_PROMPT_FILE": file, "ORCHESTRATE_TURN": str(turn.number)}
        return Job(
            argv=("/bin/sh", "-c", command),
            workspace=turn.workspace,
            home=turn.home,
            env={**turn.env, **self.env, **given},
            stdin=prompt,
            readable=(*self.tools, *turn.readable),
            seconds=turn.seconds,
            output_bytes=turn.output_bytes,
            log=turn.log,
            namespace=turn.namespace,
            doors=turn.doors,
            secrets=turn.secrets,
        )


def _ended(ended: Ended) -> TurnEnded:
    summary = _summary(ended.tail)
    if ended.how != "exited":
        return TurnEnded(ended.how, None, summary, ended.seconds)
    outcome: Outcome = "ended" if ended.code == 0 else "failed"
    if ended.code == NOT_FOUND:
        summary = f"{summary}\n{_missing(ended.tail)}".strip()
    return TurnEnded(outcome, ended.code, summary, ended.seconds)


def _missing(tail: str) -> str:
    name = missing_program(tail)
    program = "A program" if name is None else f"The program `{name}`"
    return (
        f"{program} was not found: it must lie in /usr, or in a folder that ORCHESTRATE_TOOLS "
        "names on the server."
    )


def _summary(tail: str) -> str:
    lines = [line.rstrip() for line in tail.splitlines() if line.strip()]
    return "\n".join(lines[-SUMMARY_LINES:])[-SUMMARY_CHARACTERS:]
