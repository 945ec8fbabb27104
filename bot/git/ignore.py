"""What a repository ignores: the rules of its `.gitignore` files, folder by folder.

As gitignore(5) has it: the nearest file decides before those above it, and the last pattern that
matches in it before the others; below an ignored folder all is ignored. Only what is not tracked
can be ignored, and it is for the caller to know what is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from .wildmatch import KEPT_BYTES, Matches, compile_name, compile_path, lines_of

NAME = b".gitignore"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line: what it matches, in which form of the path, and what it says of that."""

    matches: Matches
    ignores: bool
    by_name: bool
    folders_only: bool


class Ignores:
    """The rules that hold in one folder: its own, and those of the folders above it."""

    __slots__ = ("_above", "_all", "_depth", "_path", "_rules")

    def __init__(
        self,
        rules: tuple[Rule, ...] = (),
        above: Ignores | None = None,
        path: bytes = b"",
        ignored: bool | None = False,
    ) -> None:
        self._rules = rules
        self._above = above
        self._path = path
        # The length of the folder's path with its closing slash.
        self._depth = len(path) + 1 if path else 0
        self._all = ignored

    def ignored(self, path: bytes, *, folder: bool) -> bool:
        """Whether an entry of this folder, by its path from the root, is ignored."""
        if self._is_ignored():
            return True
        name = path[self._depth :]
        level: Ignores | None = self
        while level is not None:
            below = path[level._depth :]
            for rule in level._rules:
                if rule.folders_only and not folder:
                    continue
                if rule.matches(name if rule.by_name else below):
                    return rule.ignores
            level = level._above
        return False

    def below(self, path: bytes, text: bytes | None, *, tracked: bool) -> Ignores:
        """Return the rules within a folder of this one; `text` is what its `.gitignore` says.

        A folder that is entered is not ignored, unless for something that is `tracked` in it.
        """
        return Ignores(parse(text) if text else (), self, path, None if tracked else False)

    def as_ignored(self) -> Ignores:
        """Return the rules of this folder if it is ignored, whatever they say of it."""
        return Ignores(self._rules, self._above, self._path, True)

    def _is_ignored(self) -> bool:
        """Whether the folder itself is ignored, and so everything in it that is not tracked.

        Found out when it is first asked: most folders have nothing that is not tracked.
        """
        level, unknown = self, []
        while level._all is None:
            unknown.append(level)
            assert level._above is not None, "the first folder is not ignored"
            level = level._above
        for each in reversed(unknown):
            each._all = level._all or level.ignored(each._path, folder=True)
            level = each
        return bool(self._all)


def parse(text: bytes) -> tuple[Rule, ...]:
    """Return the rules of a `.gitignore`, the last line first, as they are looked at."""
    return _parse_kept(text) if len(text) <= KEPT_BYTES else _parse(text)


def _parse(text: bytes) -> tuple[Rule, ...]:
    rules = [rule for line in lines_of(text)[0] if (rule := _rule(line))]
    return tuple(reversed(rules))


_parse_kept = lru_cache(maxsize=64)(_parse)


def _rule(line: bytes) -> Rule | None:
    pattern = _without_blanks(line)
    if not pattern or pattern.startswith(b"#"):
        return None
    ignores = not pattern.startswith(b"!")
    pattern = pattern[not ignores :]
    folders_only = pattern.endswith(b"/")
    pattern = pattern[:-1] if folders_only else pattern
    by_name = b"/" not in pattern
    if not pattern:
        return None
    matches = compile_name(pattern) if by_name else compile_path(pattern.removeprefix(b"/"))
    return Rule(matches, ignores, by_name, folders_only)


def _without_blanks(line: bytes) -> bytes:
    """Take blanks off the end, but for one behind a backslash."""
    end = len(line)
    while end and line[end - 1 : end] == b" ":
        if _is_escaped(line, end - 1):
            break
        end -= 1
    return line[:end]


def _is_escaped(line: bytes, at: int) -> bool:
    backslashes = 0
    while at > backslashes and line[at - 1 - backslashes : at - backslashes] == b"\\":
        backslashes += 1
    return backslashes % 2 == 1
