"""Agents by name: those that someone configured, and the coding agents known here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from bot.errors import OperatorError, UserError
from bot.sandbox.tools import find_program


@dataclass(frozen=True, slots=True)
class KnownAgent:
    """A coding agent's command line: its program, how to call it once, and its npm package."""

    program: str
    command: str
    package: str


# "$(cat FILE)" in double quotes is one argument, which the shell does not read again.
_PROMPT: Final = '"$(cat {prompt_file})"'

KNOWN: Final[Mapping[str, KnownAgent]] = MappingProxyType(
    {
        "claude": KnownAgent(
            "claude",
            "IS_SANDBOX=1 claude -p --output-format stream-json --verbose "
            "--dangerously-skip-permissions",
            "@anthropic-ai/claude-code",
        ),
        "codex": KnownAgent(
            "codex",
            "codex exec --json --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox -",
            "@openai/codex",
        ),
        "gemini": KnownAgent(
            "gemini",
            "GEMINI_CLI_TRUST_WORKSPACE=true gemini --output-format stream-json --yolo "
            f"-p {_PROMPT}",
            "@google/gemini-cli",
        ),
        "copilot": KnownAgent(
            "copilot",
            f"copilot --output-format json --allow-all-tools -p {_PROMPT}",
            "@github/copilot",
        ),
        "opencode": KnownAgent(
            "opencode",
            f"OPENCODE_DISABLE_AUTOUPDATE=1 opencode run --format json {_PROMPT}",
            "opencode-ai",
        ),
    }
)


def find(name: str, configured: Mapping[str, str], *, tools: tuple[Path, ...] = ()) -> str:
    """Return the command of the agent `name`: a configured one, else a known one that is installed.

    `tools` are the folders in which programs are looked for beside the system's. Raises UserError,
    which says what there is.
    """
    if name in configured:
        return configured[name]
    known = KNOWN.get(name)
    if known is None:
        raise UserError(f"There is no agent `{_plain(name)}` here; {_there(configured, tools)}.")
    if find_program(known.program, tools) is None:
        raise UserError(
            f"The agent `{name}` is not installed on this server (npm package `{known.package}`); "
            f"{_there(configured, tools)}."
        )
    return known.command


def installed(tools: tuple[Path, ...] = ()) -> tuple[str, ...]:
    """Name the known agents whose programs a job would find."""
    return tuple(name for name, known in KNOWN.items() if find_program(known.program, tools))


def needs_network(name: str, configured: Mapping[str, str]) -> bool:
    """Whether the agent must reach a model; a configured command is taken at its word."""
    return name not in configured and name in KNOWN


def require_network(name: str, configured: Mapping[str, str], *, sandbox: str) -> None:
    """Raise OperatorError when the agent needs a network that `sandbox` does not give."""
    if needs_network(name, configured) and sandbox != "none":
        raise OperatorError(
            f"The agent `{name}` needs a network, which the sandbox does not give: on a server "
            "that you would let it have whole, set ORCHESTRATE_SANDBOX=none."
        )


def _there(configured: Mapping[str, str], tools: tuple[Path, ...]) -> str:
    names = sorted({*configured, *installed(tools)})
    if not names:
        return "none is configured or installed: name a command under `agents:`"
    return "there is " + ", ".join(f"`{name}`" for name in names)


def _plain(name: str) -> str:
    return name.replace("`", "")[:40]
