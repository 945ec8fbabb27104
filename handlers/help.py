"""`/help` lists the commands, and who may give them here.

/help
"""

from __future__ import annotations

from collections.abc import Sequence

from bot.commands import Usage
from bot.router import Desk, Feature, Order
from policies.config import Config


async def handle(desk: Desk, order: Order) -> str | None:
    """Answer with the table of commands."""
    return table(desk.usages, order.config)


def table(usages: Sequence[Usage], config: Config) -> str:
    """Write the commands as a Markdown table, with who may give them under `config`."""
    lines = ["| command | who | does |", "|---|---|---|"]
    for usage in usages:
        role = config.commands.least_role(usage.verb)
        written = usage.line.replace("|", "\\|")
        lines.append(f"| `{written}` | {role.value if role else 'nobody'} | {usage.summary} |")
    lines.append("")
    lines.append(
        "In conversations of a run the bare command is enough; elsewhere write "
        "`/orchestrate` before it, as in `/orchestrate help`."
    )
    return "\n".join(lines)


FEATURE = Feature(
    Usage("help", "lists the commands, and who may give them", examples=("/help",)), handle
)
