"""What a check is, and what came of it; plain data both ways, since results are recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter

Level = Literal["notice", "warning", "failure"]
Conclusion = Literal["success", "failure", "timed_out", "cancelled", "neutral"]

CHECK_SECONDS = 600.0  # a check that takes longer keeps people waiting: then they say so themselves
REPORT = "{report}"  # in a command: the file, outside the workspace, that it should report to


@dataclass(frozen=True, slots=True)
class CheckSpec:
    """One check of a repository.

    name: what people call it, in `/retry NAME` too.
    run: the shell command, run in the repository's root; it passes when it exits with 0.
    report: where it leaves a JUnit or SARIF report: a path in the repository, or "{report}" for
        the file whose path replaces that word in `run`; None when it leaves none.
    seconds: how long it may take.
    """

    name: str
    run: str
    report: str | None = None
    seconds: float = CHECK_SECONDS

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a record."""
        return _dump(CheckSpec, self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CheckSpec:
        """Read what `to_dict` wrote; pydantic's ValidationError otherwise."""
        spec: CheckSpec = _adapter(cls).validate_python(data)
        return spec


@dataclass(frozen=True, slots=True)
class Annotation:
    """A remark on lines of a file; `path` is relative to the repository, lines count from 1."""

    path: str
    start_line: int
    end_line: int
    level: Level
    message: str
    title: str


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What came of a check; `summary` and `text` are Markdown within GitHub's limits."""

    name: str
    conclusion: Conclusion
    summary: str
    text: str
    annotations: tuple[Annotation, ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a record."""
        return _dump(CheckResult, self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> CheckResult:
        """Read what `to_dict` wrote; pydantic's ValidationError otherwise."""
        result: CheckResult = _adapter(cls).validate_python(data)
        return result


def _adapter(kind: type) -> TypeAdapter[Any]:
    return _adapters()[kind]


@cache
def _adapters() -> dict[type, TypeAdapter[Any]]:
    """Made on first use: they take a while, and not every command needs them."""
    return {kind: TypeAdapter(kind) for kind in (CheckSpec, CheckResult)}


def _dump(kind: type, value: object) -> dict[str, Any]:
    dumped: dict[str, Any] = _adapter(kind).dump_python(value, mode="json")
    return dumped
