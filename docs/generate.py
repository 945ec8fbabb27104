"""Writes the pages of docs/ that are made from the code; `--check` says which are out of date."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bot.router import Feature
from bot.settings import Settings
from handlers import FEATURES
from handlers.help import table
from policies import pages as rules
from policies.config import Config
from policies.reference import markdown

DOCS = Path(__file__).resolve().parent
NOTE = "<!-- Made from the code by scripts/docs: change it there. -->\n\n"

# Defaults that differ from machine to machine, in words.
_MADE = {
    "data_dir": "`~/.local/share/orchestrate`",
    "tools": "the Python that runs the server, where it is outside /usr",
    "agents": "none",
    "models": "none",
    "setup_hosts": "none",
    "setup_secrets": "none",
    "policy_file": "none",
}


def pages() -> dict[str, str]:
    """Return every page that is made, by its name in docs/."""
    return {
        "commands.md": NOTE + commands(),
        "configuration.md": NOTE + markdown(),
        "settings.md": NOTE + settings(),
        **{f"rules/{name}.md": NOTE + text for name, text in rules.pages().items()},
    }


def commands() -> str:
    """Return the page of the slash commands: the table, then each with its manual."""
    usages = [feature.usage for feature in FEATURES]
    lines = [
        "# Slash commands",
        "",
        "A command stands at the start of a line of a comment, outside quotes and code. A comment"
        " may hold several. Editing a comment commands nothing, and bots command nothing. The"
        " roles are GitHub's; a repository sets others under `commands: who:`, see"
        " [configuration](configuration.md).",
        "",
        table(usages, Config()),
        "",
    ]
    for feature in FEATURES:
        lines += _command(feature)
    return "\n".join(lines).rstrip() + "\n"


def _command(feature: Feature) -> Iterator[str]:
    module = inspect.getmodule(feature.handle)
    manual = inspect.cleandoc((module and module.__doc__) or "")
    yield f"## /{feature.usage.verb}"
    yield ""
    for paragraph in manual.split("\n\n"):
        # The examples follow below, from the command's own declaration.
        if not paragraph.lstrip().startswith("/"):
            yield paragraph
            yield ""
    yield "```"
    yield from feature.usage.examples or (feature.usage.line,)
    yield "```"
    yield ""


def settings() -> str:
    """Return the page of the environment variables."""
    lines = ["# Settings", "", "Environment variables, read when a process starts.", ""]
    lines += ["| variable | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        told = (field.description or "").replace("|", "\\|")
        lines.append(f"| `ORCHESTRATE_{name.upper()}` | {_default(name, field)} | {told} |")
    return "\n".join(lines) + "\n"


def _default(name: str, field: FieldInfo) -> str:
    if name in _MADE:
        return _MADE[name]
    value = field.get_default(call_default_factory=False)
    value = getattr(value, "get_secret_value", lambda: value)()
    return "" if value in (None, "", PydanticUndefined) else f"`{value}`"


def main(arguments: list[str]) -> int:
    """Write the pages, or with `--check` compare them; 1 when one is out of date."""
    stale = [name for name, text in pages().items() if _differs(DOCS / name, text)]
    if "--check" in arguments:
        for name in stale:
            sys.stderr.write(f"docs/{name} is out of date: run scripts/docs.\n")
        return 1 if stale else 0
    for name in stale:
        (DOCS / name).parent.mkdir(exist_ok=True)
        (DOCS / name).write_text(pages()[name])
        sys.stderr.write(f"Written: docs/{name}\n")
    return 0


def _differs(path: Path, text: str) -> bool:
    return not path.exists() or path.read_text() != text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
