"""GitHub's refusals: a status, a sentence, and for 422 the list of what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bot.errors import Refused

DOCUMENTATION = "https://docs.github.com/rest"

NOT_ACCESSIBLE = "Resource not accessible by integration"


class Refusal(Refused):
    """An answer that is no: `status`, the message, GitHub's `errors` and extra headers."""

    def __init__(
        self,
        status: int,
        message: str,
        errors: Sequence[Mapping[str, object] | str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, status=status)
        self.code = status
        self.message = message
        self.errors = list(errors)
        self.headers = dict(headers or {})

    def body(self) -> dict[str, object]:
        """The JSON that GitHub answers such a refusal with."""
        body: dict[str, object] = {"message": self.message}
        if self.errors:
            body["errors"] = self.errors
        return {**body, "documentation_url": DOCUMENTATION, "status": str(self.code)}


def not_found() -> Refusal:
    """What is not there, or must not be seen."""
    return Refusal(404, "Not Found")


def forbidden(message: str = "Must have admin rights to Repository.") -> Refusal:
    """The person's role does not suffice."""
    return Refusal(403, message)


def not_accessible() -> Refusal:
    """The App's permission does not suffice."""
    return Refusal(403, NOT_ACCESSIBLE)


def bad_credentials() -> Refusal:
    """The token is unknown or has expired."""
    return Refusal(401, "Bad credentials")


def invalid(resource: str, field: str, code: str = "invalid", message: str = "") -> Refusal:
    """A field of the request is wrong (`code` as GitHub has it: missing, invalid, custom …)."""
    error: dict[str, object] = {"resource": resource, "code": code, "field": field}
    if message:
        error["message"] = message
    return Refusal(422, "Validation Failed", [error])


def unprocessable(message: str) -> Refusal:
    """A 422 that says all it has to say in its message."""
    return Refusal(422, message)
