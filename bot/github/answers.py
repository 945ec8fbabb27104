"""GitHub's answers: the few fields that we read of them, and its refusals as errors of ours."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
from githubkit import Response
from githubkit.exception import GitHubException, RequestError, RequestFailed

from bot.errors import OrchestrateError, Refused, TransientError
from bot.github.pacing import Pace

LIMITED = (403, 429)
"""The statuses with which GitHub says that it is asked too often."""

UNSAID_SECONDS = 60.0
"""How long a limit holds that does not say so: GitHub asks for a minute at least."""

MESSAGE_LENGTH = 300
"""Characters of GitHub's own words in an error: a sentence, not a page."""


class Refusal(Refused):
    """GitHub said no; `message` is what it said, without the request."""

    def __init__(self, what: str, status: int, message: str) -> None:
        super().__init__(f"GitHub refused {what} ({status}): {message}", status=status)
        self.message = message


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, the JSON (None where there is none) and the headers, in lower case."""

    status: int
    data: Any
    headers: Mapping[str, str]

    def map(self) -> dict[str, Any]:
        """Return the JSON object; an answer that is none counts as a fault in passing."""
        if isinstance(self.data, dict):
            return self.data
        raise TransientError("GitHub answered without the object that was asked for.")

    def maps(self, key: str | None = None) -> list[dict[str, Any]]:
        """Return the JSON list, or the one under `key`."""
        data = self.map().get(key) if key else self.data
        if isinstance(data, list):
            return [each for each in data if isinstance(each, dict)]
        raise TransientError("GitHub answered without the list that was asked for.")


def answer_of(response: Response[Any]) -> Answer:
    """Read an answer; `TransientError` when it breaks off or is no JSON."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    if not response.content or response.status_code in (204, 304):
        return Answer(response.status_code, None, headers)
    try:
        return Answer(response.status_code, response.json(), headers)
    except ValueError as error:
        raise TransientError("GitHub answered with something that is no JSON.") from error


def ours(error: GitHubException, what: str, pace: Pace | None = None) -> OrchestrateError:
    """Return the error of ours for githubkit's; `what` names the request.

    A limit pauses `pace`, so that nobody else runs into it. What is no fault of the connection
    or of GitHub is a bug of ours, and raised as it is.
    """
    if isinstance(error, RequestFailed):
        return _failed(error.response, what, pace)
    if isinstance(error, RequestError) and isinstance(error.exc, httpx.HTTPError):
        kind = type(error.exc).__name__
        return TransientError(f"GitHub could not be reached for {what} ({kind}).")
    if isinstance(error, RequestError) and isinstance(error.exc, Exception):
        raise error.exc
    raise error


def _failed(response: Response[Any], what: str, pace: Pace | None) -> OrchestrateError:
    status = response.status_code
    message = message_of(response)
    if status in LIMITED:
        wait = _limit(response, message, pace)
        if wait is not None:
            if pace:
                pace.pause(wait)
            return TransientError(f"GitHub limits how often it is asked: {what}.", retry_after=wait)
    if status >= 500 or status == 408:
        return TransientError(f"GitHub answered {status} to {what}.")
    return Refusal(what, status, message)


def _limit(response: Response[Any], message: str, pace: Pace | None) -> float | None:
    """Return for how many seconds a limit holds; None when the answer is no limit.

    https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api
    """
    after = _number(response.headers.get("retry-after"))
    if after is not None:
        return max(after, 1.0)
    if "secondary rate" in message.lower() or "abuse" in message.lower():
        return pace.strike() if pace else UNSAID_SECONDS
    reset = _number(response.headers.get("x-ratelimit-reset"))
    if response.headers.get("x-ratelimit-remaining") == "0" and reset is not None:
        return max(reset - time.time(), 1.0)
    if response.status_code == 429:
        return pace.strike() if pace else UNSAID_SECONDS
    return None


def passing(answer: Answer, error: Mapping[str, Any], what: str) -> TransientError | None:
    """Return the fault in passing that GraphQL answers with status 200; None for a refusal.

    Its hourly limit is its own, so whoever asks by REST is not held up.
    https://docs.github.com/graphql/overview/rate-limits-and-query-limits-for-the-graphql-api
    """
    message = text_of(error, "message").lower()
    if text_of(error, "type") == "RATE_LIMITED" or "secondary rate" in message:
        after = _number(answer.headers.get("retry-after"))
        reset = _number(answer.headers.get("x-ratelimit-reset"))
        spent = answer.headers.get("x-ratelimit-remaining") == "0"
        if after is None:
            after = reset - time.time() if spent and reset is not None else UNSAID_SECONDS
        said = f"GitHub limits how often it is asked: {what}."
        return TransientError(said, retry_after=max(after, 1.0))
    if message.startswith("something went wrong while executing your query"):
        return TransientError(f"GitHub had a fault of its own in {what}.")
    return None


def message_of(response: Response[Any]) -> str:
    """Return GitHub's own words for a refusal, in one sentence."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return "it gave no reason."
    errors = body.get("errors")
    details = [_detail(each) for each in errors] if isinstance(errors, list) else []
    parts = [str(body.get("message") or "it gave no reason"), *(d for d in details if d)]
    text = " ".join(": ".join(part.strip().rstrip(".") for part in parts).split())
    return text[:MESSAGE_LENGTH] + "."


def _detail(error: object) -> str:
    if not isinstance(error, dict):
        return str(error)
    if error.get("message"):
        return str(error["message"])
    return " ".join(str(error[key]) for key in ("field", "code") if error.get(key))


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def moment(value: object) -> datetime:
    """Read a time as GitHub writes it; the beginning of time where there is none."""
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return datetime.fromisoformat("1970-01-01T00:00:00+00:00")


def text_of(data: Mapping[str, Any], *path: str) -> str:
    """Read a text by its path in a JSON object; empty where it is missing or null."""
    value: object = data
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else ""


def number_of(data: Mapping[str, Any], *path: str) -> int | None:
    """Read a number by its path in a JSON object; None where it is missing or null."""
    value: object = data
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def id_of(data: Mapping[str, Any], *path: str) -> int:
    """Read a number that must be there; without it the answer is a fault in passing."""
    number = number_of(data, *path)
    if number is None:
        raise TransientError(f"GitHub answered without {'.'.join(path)}.")
    return number
