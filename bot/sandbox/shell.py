"""What a shell says about a program that is not there."""

from __future__ import annotations

import re

NOT_FOUND = 127  # POSIX, sh: the command was not found

# dash: "sh: 1: foo: not found"; bash: "sh: line 1: foo: command not found";
# env: "env: 'foo': No such file or directory".
_MISSING = re.compile(
    r"^(?:.*: )?['‘]?([^\s:'‘’]+)['’]?: (?:command not found|not found|No such file or directory)$"
)
_MODULE = re.compile(r"^\S*python[\d.]*: No module named '?([\w.]+)'?$")


def missing_program(tail: str) -> str | None:
    """Name the program that a shell did not find, from the last words of its output."""
    return _last(_MISSING, tail)


def missing_module(tail: str) -> str | None:
    """Name the module that `python -m` did not find, from the last words of its output."""
    return _last(_MODULE, tail)


def _last(pattern: re.Pattern[str], tail: str) -> str | None:
    found = [match[1] for line in tail.splitlines() if (match := pattern.match(line.strip()))]
    return found[-1].replace("`", "") if found else None
