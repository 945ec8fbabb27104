"""The folders of programs that an operator lets jobs use, and where a job looks for a program."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from bot.errors import OperatorError

SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin")
# Folders that every job has in its own form; binding the host's over them would undo that.
_OWN = tuple(Path(name) for name in ("/proc", "/sys", "/dev", "/etc", "/workspace"))


def search_path(tools: Iterable[Path]) -> str:
    """The PATH of a job: the `bin` of each folder, or the folder itself, then the system's."""
    folders = [tool / "bin" if (tool / "bin").is_dir() else tool for tool in tools]
    return ":".join(dict.fromkeys([*map(str, folders), *SYSTEM_PATH]))


def find_program(name: str, tools: Iterable[Path] = ()) -> Path | None:
    """Look for a program where a job would look; None when it is not there."""
    found = shutil.which(name, path=search_path(tools))
    return None if found is None else Path(found)


def expand(tools: Iterable[Path]) -> tuple[Path, ...]:
    """Add what the folders need to work: a Python virtual environment needs its base interpreter.

    Raises OperatorError for a folder that is not there or that no job may have.
    """
    folders: list[Path] = []
    for tool in tools:
        _check(tool)
        environment = _environment(tool)
        folders.append(environment or tool)
        base = None if environment is None else _base(environment)
        if base is not None and not base.is_relative_to("/usr"):
            folders.append(base)
    return tuple(dict.fromkeys(folders))


def _check(tool: Path) -> None:
    if not tool.is_absolute() or not tool.is_dir():
        raise OperatorError(
            f"The tools folder {tool} is not there: name existing folders, by absolute paths, "
            "in ORCHESTRATE_TOOLS."
        )
    if tool == Path("/") or any(tool.is_relative_to(own) for own in _OWN):
        raise OperatorError(
            f"The folder {tool} cannot be given to jobs: name the folder of the programs "
            "themselves in ORCHESTRATE_TOOLS."
        )


def _environment(tool: Path) -> Path | None:
    """The virtual environment that `tool` is, or is the `bin` of."""
    for folder in (tool, tool.parent):
        if (folder / "pyvenv.cfg").is_file():
            return folder
    return None


def _base(environment: Path) -> Path | None:
    """The base interpreter's prefix, as the `home` key of pyvenv.cfg names its `bin` (PEP 405)."""
    for line in (environment / "pyvenv.cfg").read_text(errors="replace").splitlines():
        key, _, value = line.partition("=")
        if key.strip() == "home" and value.strip().startswith("/"):
            return Path(value.strip()).parent
    return None
