"""The makers of models: their endpoints and keys, by the names that their own programs read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from bot.errors import OperatorError
from bot.sandbox.gateway.wires import ANTHROPIC, GEMINI, OPENAI, Wire

# What Anthropic asks of requests that carry an OAuth token in place of a key.
OAUTH_BETA: Final = "oauth-2025-04-20"

# Headers that say who pays: the job's own never pass.
CREDENTIALS: Final = frozenset(
    {
        *("authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"),
        *("openai-organization", "openai-project", "x-goog-user-project"),
    }
)


@dataclass(frozen=True, slots=True)
class Maker:
    """Where one maker's models are, and what opens them.

    base: the address that the host's variables name, or the maker's own; no slash at its end.
    headers: what is put on every request, in place of the placeholder.
    betas: what is added to `anthropic-beta`.
    path: what the job's address for it ends in, after the door's own and the maker's name.
    env: the names by which programs find the address and the key.
    key: the variable that the key came from; empty when the endpoint needs none.
    more: further variables of the host that a job is given as they are.
    """

    name: str
    title: str
    wire: Wire
    base: str
    headers: tuple[tuple[str, str], ...]
    path: str
    env: tuple[str, str]
    key: str
    secrets: frozenset[str] = frozenset()
    betas: tuple[str, ...] = ()
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """What the path of every request for it begins with, at the door."""
        return f"/{self.name}{self.path}"


def configured(environ: Mapping[str, str]) -> dict[str, Maker]:
    """Return the makers that the host has a key or an endpoint of its own for.

    `OperatorError` names the variable that is wrong.
    """
    env = {name: value.strip() for name, value in environ.items() if value.strip()}
    return {name: maker for name, make in _MAKERS.items() if (maker := make(env)) is not None}


def _anthropic(env: Mapping[str, str]) -> Maker | None:
    key = _first(env, "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN")
    base = _base(env, "ANTHROPIC_BASE_URL", "https://api.anthropic.com")
    if not key and "ANTHROPIC_BASE_URL" not in env:
        return None
    as_key = key == "ANTHROPIC_API_KEY"
    return Maker(
        name="anthropic",
        title="Anthropic",
        wire=ANTHROPIC,
        base=base,
        headers=_keyed("x-api-key" if as_key else "authorization", env.get(key, "")),
        path="",
        env=("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"),
        key=key,
        secrets=_secrets(base, env.get(key, "")),
        betas=(OAUTH_BETA,) if key == "CLAUDE_CODE_OAUTH_TOKEN" else (),
    )


def _openai(env: Mapping[str, str]) -> Maker | None:
    key = _first(env, "OPENAI_API_KEY")
    base = _base(env, "OPENAI_BASE_URL", "https://api.openai.com/v1")
    if not key and "OPENAI_BASE_URL" not in env:
        return None
    organisation = _first(env, "OPENAI_ORG_ID", "OPENAI_ORGANIZATION")
    project = _first(env, "OPENAI_PROJECT_ID", "OPENAI_PROJECT")
    return Maker(
        name="openai",
        title="OpenAI",
        wire=OPENAI,
        base=base,
        headers=(
            *_keyed("authorization", env.get(key, "")),
            *((("openai-organization", env[organisation]),) if organisation else ()),
            *((("openai-project", env[project]),) if project else ()),
        ),
        path="/v1",
        env=("OPENAI_BASE_URL", "OPENAI_API_KEY"),
        key=key,
        secrets=_secrets(base, env.get(key, "")),
    )


def _gemini(env: Mapping[str, str]) -> Maker | None:
    key = _first(env, "GEMINI_API_KEY", "GOOGLE_API_KEY")
    base = _base(env, "GOOGLE_GEMINI_BASE_URL", "https://generativelanguage.googleapis.com")
    if not key and "GOOGLE_GEMINI_BASE_URL" not in env:
        return None
    return Maker(
        name="gemini",
        title="Gemini",
        wire=GEMINI,
        base=base,
        headers=_keyed("x-goog-api-key", env.get(key, "")),
        path="",
        env=("GOOGLE_GEMINI_BASE_URL", "GEMINI_API_KEY"),
        key=key,
        secrets=_secrets(base, env.get(key, "")),
    )


def _copilot(env: Mapping[str, str]) -> Maker | None:
    """Copilot with a provider of the operator's own, or else with OpenAI's models."""
    if "COPILOT_PROVIDER_BASE_URL" not in env:
        return _copilot_with_openai(env)
    key = _first(env, "COPILOT_PROVIDER_BEARER_TOKEN", "COPILOT_PROVIDER_API_KEY")
    base = _base(env, "COPILOT_PROVIDER_BASE_URL", "")
    kind = env.get("COPILOT_PROVIDER_TYPE", "openai")
    if kind not in {"openai", "anthropic"}:
        raise OperatorError(
            f"COPILOT_PROVIDER_TYPE={kind} is not supported: set it to openai or anthropic."
        )
    to_anthropic = kind == "anthropic"
    as_key = to_anthropic and key == "COPILOT_PROVIDER_API_KEY"
    return Maker(
        name="copilot",
        title="The provider of Copilot's models",
        wire=ANTHROPIC if to_anthropic else OPENAI,
        base=base,
        headers=_keyed("x-api-key" if as_key else "authorization", env.get(key, "")),
        path="" if to_anthropic else "/v1",
        env=_COPILOT_ENV,
        key=key,
        secrets=_secrets(base, env.get(key, "")),
        more=_copilot_more(env),
    )


def _copilot_with_openai(env: Mapping[str, str]) -> Maker | None:
    openai = _openai(env)
    if openai is None:
        return None
    return Maker(
        name="copilot",
        title=openai.title,
        wire=openai.wire,
        base=openai.base,
        headers=openai.headers,
        path=openai.path,
        env=_COPILOT_ENV,
        key=openai.key,
        secrets=openai.secrets,
        more=_copilot_more(env),
    )


_COPILOT_ENV: Final = ("COPILOT_PROVIDER_BASE_URL", "COPILOT_PROVIDER_API_KEY")
_COPILOT_MORE: Final = ("COPILOT_PROVIDER_TYPE", "COPILOT_PROVIDER_WIRE_API", "COPILOT_MODEL")


def _copilot_more(env: Mapping[str, str]) -> dict[str, str]:
    return {name: env[name] for name in _COPILOT_MORE if name in env}


_MAKERS: Final[Mapping[str, Callable[[Mapping[str, str]], Maker | None]]] = {
    "anthropic": _anthropic,
    "openai": _openai,
    "gemini": _gemini,
    "copilot": _copilot,
}

# What an operator sets for each, named where it is missing.
KEYS: Final = {
    "anthropic": "ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN or CLAUDE_CODE_OAUTH_TOKEN",
    "openai": "OPENAI_API_KEY",
    "gemini": "GEMINI_API_KEY or GOOGLE_API_KEY",
    "copilot": "COPILOT_PROVIDER_BASE_URL and COPILOT_PROVIDER_API_KEY, or OPENAI_API_KEY",
}


def _first(env: Mapping[str, str], *names: str) -> str:
    return next((name for name in names if name in env), "")


def _keyed(header: str, value: str) -> tuple[tuple[str, str], ...]:
    if not value:
        return ()
    return ((header, f"Bearer {value}" if header == "authorization" else value),)


def _base(env: Mapping[str, str], name: str, default: str) -> str:
    base = env.get(name, default).rstrip("/")
    try:
        parts = urlsplit(base)
        fine = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine or re.search(r"[?#\s]", base):
        raise OperatorError(f"{name} is not an address: it begins with https:// and has a host.")
    return base


def _secrets(base: str, key: str) -> frozenset[str]:
    password = urlsplit(base).password
    return frozenset(value for value in (key, password) if value)
