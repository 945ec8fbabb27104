"""`/help` lists the commands, and who may give them here.

/help
"""

from __future__ import annotations

from collections.abc import Sequence

from bot.commands import Usage
from bot.router import Desk, Feature, Order
from policies.config import Config
from policies.verdict import code


async def handle(desk: Desk, order: Order) -> str | None:
    """Answer with the table of commands."""
    return table(desk.usages, order.config)


def table(usages: Sequence[Usage], config: Config) -> str:
    """Write the commands as a Markdown table, with who may give them under `config`."""
    lines = ["| command | who | does |", "|---|---|---|"]
    for usage in usages:
        written = usage.line.replace("|", "\\|")
        lines.append(f"| `{written}` | {_who(usage.verb, config)} | {usage.summary} |")
    lines.append("")
    lines.append(
        "In conversations of a run the bare command is enough; elsewhere write "
        "`/orchestrate` before it, as in `/orchestrate help`."
    )
    return "\n".join(lines)


def _who(verb: str, config: Config) -> str:
    """Say who may give a command: the least role, and whom the configuration names beside it."""
    role, people = config.commands.least_role(verb), config.commands.people(verb)
    named = [role.value if role else "nobody"]
    named += [f"team {code(team)}" for team in people.teams]
    named += [code(user) for user in people.users]
    named += ["the issue's author"] if people.author else []
    return ", ".join(named)


FEATURE = Feature(
    Usage("help", "lists the commands, and who may give them", examples=("/help",)), handle
)
