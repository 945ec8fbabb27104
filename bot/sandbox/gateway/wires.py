"""The languages that makers speak: which requests exist, what they ask for, how errors look."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from bot.sandbox.gateway import counting
from bot.sandbox.gateway.counting import Reader

# Names may have slashes; no part begins with a dot, since `..` would lead to other requests.
_MODEL: Final = r"[\w@:+-][\w.:@+-]*(?:/[\w@:+-][\w.:@+-]*)*"


@dataclass(frozen=True, slots=True)
class Route:
    """A request that is forwarded; `reader` counts its answers, None where they cost nothing."""

    method: str
    path: re.Pattern[str]
    reader: Reader | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a counted request asks for; `wrong` says why it is not forwarded, if it is not."""

    model: str
    tier: str
    output_tokens: int | None
    wrong: str = ""


@dataclass(frozen=True, slots=True)
class Wire:
    """One maker's way of speaking.

    spent: the status of a request that the budget does not cover, which its programs take as
        final: Claude Code asks six times on 400 and once on 402, Codex once on 400 and six times
        on 402. All of them try again on 429 and above, most on 401.
    """

    spent: int
    routes: tuple[Route, ...]
    wanted: Callable[[str, Mapping[str, Any]], Wanted]
    error: Callable[[int, str], Mapping[str, Any]]

    def route(self, method: str, path: str) -> Route | None:
        """Find the request in what this maker's interface has."""
        return next(
            (each for each in self.routes if each.method == method and each.path.fullmatch(path)),
            None,
        )

    def complaint(self, status: int, sentence: str) -> bytes:
        """Return an error as this maker would write it."""
        return json.dumps(self.error(status, sentence)).encode()


def _route(method: str, path: str, reader: Reader | None = None) -> Route:
    return Route(method, re.compile(path, re.ASCII), reader)


def _anthropic_wanted(path: str, body: Mapping[str, Any]) -> Wanted:
    return Wanted(
        _text(body.get("model")),
        "fast" if body.get("speed") == "fast" else "",
        _tokens(body, "max_tokens"),
    )


def _openai_wanted(path: str, body: Mapping[str, Any]) -> Wanted:
    wrong = ""
    if body.get("background"):
        # Its answer is fetched later, and so is what it cost.
        wrong = "Responses in the background cannot be counted: ask without `background`."
    return Wanted(
        _text(body.get("model")),
        counting.tier_of(body),
        _tokens(body, "max_output_tokens", "max_completion_tokens", "max_tokens"),
        wrong,
    )


def _gemini_wanted(path: str, body: Mapping[str, Any]) -> Wanted:
    model = path.rpartition("/")[2].partition(":")[0]
    config = body.get("generationConfig") or body.get("generation_config")
    limits = config if isinstance(config, Mapping) else {}
    return Wanted(model, "", _tokens(limits, "maxOutputTokens", "max_output_tokens"))


_ANTHROPIC_ERRORS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
}
_GEMINI_ERRORS: Final = {
    400: "FAILED_PRECONDITION",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    502: "UNAVAILABLE",
}


def _anthropic_error(status: int, sentence: str) -> Mapping[str, Any]:
    kind = _ANTHROPIC_ERRORS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": sentence}}


def _openai_error(status: int, sentence: str) -> Mapping[str, Any]:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": sentence, "type": kind, "param": None, "code": None}}


def _gemini_error(status: int, sentence: str) -> Mapping[str, Any]:
    kind = _GEMINI_ERRORS.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    return {"error": {"code": status, "message": sentence, "status": kind}}


ANTHROPIC: Final = Wire(
    402,
    (
        _route("POST", r"/v1/messages", counting.anthropic),
        _route("POST", r"/v1/messages/count_tokens"),
        _route("GET", rf"/v1/models(/{_MODEL})?"),
    ),
    _anthropic_wanted,
    _anthropic_error,
)
# Its addresses end in /v1 already.
OPENAI: Final = Wire(
    400,
    (
        _route("POST", r"/responses", counting.responses),
        _route("POST", r"/responses/compact", counting.responses),
        _route("POST", r"/responses/input_tokens"),
        _route("POST", r"/chat/completions", counting.chat),
        _route("GET", rf"/models(/{_MODEL})?"),
    ),
    _openai_wanted,
    _openai_error,
)
GEMINI: Final = Wire(
    400,
    (
        _route(
            "POST",
            rf"/v1(alpha|beta)?/models/{_MODEL}:(generateContent|streamGenerateContent)",
            counting.gemini,
        ),
        _route("POST", rf"/v1(alpha|beta)?/models/{_MODEL}:countTokens"),
        _route("GET", rf"/v1(alpha|beta)?/models(/{_MODEL})?"),
    ),
    _gemini_wanted,
    _gemini_error,
)


def wants_usage_hidden(reader: Reader | None, body: Mapping[str, Any]) -> bool:
    """Whether a stream has to be asked for its usage, which its client does not expect."""
    if reader is not counting.chat or not body.get("stream"):
        return False
    options = body.get("stream_options")
    return not (isinstance(options, Mapping) and options.get("include_usage"))


def with_usage(body: bytes, parsed: Mapping[str, Any]) -> bytes:
    """Return the request `body`, which says `parsed`, with the wish for usage added."""
    options = parsed.get("stream_options")
    if "stream_options" in parsed or body[:1] != b"{":
        asked = {**(options if isinstance(options, Mapping) else {}), "include_usage": True}
        return json.dumps({**parsed, "stream_options": asked}).encode()
    # All else stays as it was written, and is not written anew.
    return b'{"stream_options":{"include_usage":true},' + body[1:]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _tokens(body: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = body.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return min(value, counting.TOKENS_MAX)
    return None
