"""Errors, named for who must act.

    OrchestrateError
    ├── UserError        the person who typed: answered in the thread, in one sentence
    ├── ConfigError      the repository's owners: shown on the check, with the line
    ├── OperatorError    whoever runs this server: a setting, a program or a permission is missing
    ├── TransientError   nobody: it is tried again, after `retry_after` seconds where that is known
    └── Refused          an outside system said no, and would say it again

Anything else is a bug of ours: it is caught once, at the boundary, and logged with its traceback.
"""

from __future__ import annotations

from typing import Any


class OrchestrateError(Exception):
    """What every error of ours is; its text is one sentence that a person can act on."""

    def __reduce__(self) -> tuple[Any, ...]:
        # As it is, whatever its class is made from: errors come out of worker processes.
        return _again, (type(self), self.args, self.__dict__)


def _again(
    kind: type[OrchestrateError], args: tuple[Any, ...], state: dict[str, Any]
) -> OrchestrateError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class UserError(OrchestrateError):
    """The person who typed must change what was asked."""


class ConfigError(OrchestrateError):
    """The repository's owners must change its configuration."""


class OperatorError(OrchestrateError):
    """Whoever runs this server must change a setting, install a program or grant a permission."""


class TransientError(OrchestrateError):
    """Nobody must act: the same will be tried again.

    `retry_after` is the number of seconds that the other side asked for, or None.
    """

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Refused(OrchestrateError):
    """An outside system said no; `status` is its HTTP status, or None where it speaks no HTTP."""

    def __init__(self, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status
