"""The coding agents that are known here: their programs, and what each needs to work contained.

Facts about other people's programs, found by driving them. `scripts/test-agents` drives the
versions named in `tried`; another version is used all the same, with a remark.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal

from bot.agents.session import MODE, Capabilities, Speaks

By = Literal["acp", "cli"]


@dataclass(frozen=True, slots=True)
class Given:
    """What a product's settings are made from.

    env: what the gateway gives, by the makers' names; empty where nothing may be used. model: the
    one to use, or empty for the product's own choice.
    """

    env: Mapping[str, str]
    model: str


@dataclass(frozen=True, slots=True)
class Needs:
    """What a product needs in its sandbox, besides what the gateway gives.

    files: texts by their path in its private home. before: what is run in the sandbox, which then
    becomes the program that the words after it name.
    """

    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One program by which a product is driven.

    tried: the oldest and the newest version that were driven.
    """

    by: By
    program: str
    package: str
    speaks: Speaks
    can: Capabilities
    tried: tuple[str, str]
    arguments: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def install(self) -> str:
        """The command that installs it."""
        return f"npm install -g {self.package}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A coding agent: its ways by preference, whose models it uses, and what it needs.

    makers: one of them is enough.
    """

    name: str
    title: str
    makers: tuple[str, ...]
    ways: tuple[Way, ...]
    needs: Callable[[Given], Needs]


# -- what each needs: no news, no updates, no telemetry; the model through the gateway


def _claude(given: Given) -> Needs:
    env = {
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_TELEMETRY": "1",
        "IS_SANDBOX": "1",  # as a server's own user may be root, with whom it would not start
        # By itself it tries for a minute what a model's server has refused.
        "CLAUDE_CODE_MAX_RETRIES": "2",
    }
    if given.model:
        env["ANTHROPIC_MODEL"] = given.model
    return Needs(env=env)


def _codex(given: Given) -> Needs:
    lines = [f"model = {json.dumps(given.model)}"] if given.model else []
    if base := given.env.get("OPENAI_BASE_URL"):
        lines += [
            'model_provider = "gateway"',
            "[model_providers.gateway]",
            'name = "Gateway"',
            f"base_url = {json.dumps(base)}",
            'env_key = "OPENAI_API_KEY"',
            'wire_api = "responses"',
            "request_max_retries = 1",
            "stream_max_retries = 1",
        ]
    # Without these it asks its maker's sites for news, and for lists of plugins.
    lines += ["[features]", "apps = false", "plugins = false", "remote_plugin = false"]
    lines += ["[analytics]", "enabled = false"]
    return Needs(files={".codex/config.toml": "\n".join(lines) + "\n"})


# It writes a session to `session-MINUTE-ID.jsonl`, and writes the beginning of a new one there when
# it loads one: what was said in that minute would be gone, and the session not be found. One with
# another name it finds, and goes on with, as well.
_GEMINI_KEEPS: Final = (
    'for f in "$HOME"/.gemini/tmp/*/chats/session-2*.jsonl; do '
    '[ ! -f "$f" ] || mv "$f" "${f%/*}/session-kept-${f##*/session-}"; done; exec "$@"'
)


def _gemini(given: Given) -> Needs:
    settings = {
        "general": {"disableAutoUpdate": True, "disableUpdateNag": True, "enableAutoUpdate": False},
        "privacy": {"usageStatisticsEnabled": False},
        "security": {"auth": {"selectedType": "gemini-api-key"}},
        "telemetry": {"enabled": False},
    }
    return Needs(
        env={"GEMINI_CLI_TRUST_WORKSPACE": "true"},
        files={".gemini/settings.json": json.dumps(settings, indent=2) + "\n"},
        before=("/bin/sh", "-c", _GEMINI_KEEPS, "sh"),
        arguments=("-m", given.model) if given.model else (),
    )


def _copilot(given: Given) -> Needs:
    # It makes its users choose; this is what its makers themselves began with.
    model = given.model or given.env.get("COPILOT_MODEL") or "gpt-4.1"
    env = {"COPILOT_OFFLINE": "true", "COPILOT_AUTO_UPDATE": "false", "COPILOT_MODEL": model}
    return Needs(env=env)


@dataclass(frozen=True, slots=True)
class _Provider:
    """How OpenCode reaches one maker: its library, and what it is used with unless told."""

    library: str
    address: str
    key: str
    suffix: str
    model: str


_PROVIDERS: Final[Mapping[str, _Provider]] = {
    "anthropic": _Provider(
        "@ai-sdk/anthropic", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "/v1", "claude-sonnet-4-5"
    ),
    "openai": _Provider(
        "@ai-sdk/openai-compatible", "OPENAI_BASE_URL", "OPENAI_API_KEY", "", "gpt-4.1"
    ),
    "gemini": _Provider(
        "@ai-sdk/google", "GOOGLE_GEMINI_BASE_URL", "GEMINI_API_KEY", "/v1beta", "gemini-2.5-pro"
    ),
}


def _opencode(given: Given) -> Needs:
    settings: dict[str, object] = {
        "autoupdate": False,
        "share": "disabled",
        "permission": dict.fromkeys(("edit", "bash", "webfetch", "external_directory"), "ask"),
    }
    for maker, provider in _PROVIDERS.items():
        if provider.address not in given.env:
            continue
        model = given.model or provider.model
        options = {
            "baseURL": given.env[provider.address] + provider.suffix,
            "apiKey": given.env[provider.key],
        }
        settings["model"] = settings["small_model"] = f"gateway/{model}"
        settings["provider"] = {
            "gateway": {
                "npm": provider.library,
                "name": f"Gateway to {maker}",
                "options": options,
                "models": {model: {"name": model}},
            }
        }
        break
    env = dict.fromkeys(
        (
            "OPENCODE_DISABLE_AUTOUPDATE",
            "OPENCODE_DISABLE_DEFAULT_PLUGINS",
            "OPENCODE_DISABLE_LSP_DOWNLOAD",
            "OPENCODE_DISABLE_MODELS_FETCH",
        ),
        "1",
    )
    return Needs(env={**env, "OPENCODE_CONFIG_CONTENT": json.dumps(settings)})


_ACP: Final = Capabilities(
    resume=True, cancel=True, plan=True, diffs=True, permissions=True, usage=True
)

PRODUCTS: Final[Mapping[str, Product]] = MappingProxyType(
    {
        each.name: each
        for each in (
            Product(
                name="claude",
                title="Claude Code",
                makers=("anthropic",),
                needs=_claude,
                ways=(
                    Way(
                        by="acp",
                        program="claude-agent-acp",
                        package="@agentclientprotocol/claude-agent-acp",
                        speaks="acp",
                        can=_ACP,
                        tried=("0.49.0", "0.100.0"),
                    ),
                    Way(
                        by="cli",
                        program="claude",
                        package="@anthropic-ai/claude-code",
                        speaks="claude",
                        can=Capabilities(
                            resume=True,
                            steer="at once",
                            cancel=True,
                            plan=True,
                            permissions=True,
                            usage=True,
                        ),
                        tried=("2.1.197", "2.1.329"),
                    ),
                ),
            ),
            Product(
                name="codex",
                title="Codex",
                makers=("openai",),
                needs=_codex,
                ways=(
                    Way(
                        by="acp",
                        program="codex-acp",
                        package="@agentclientprotocol/codex-acp",
                        speaks="acp",
                        # In this mode it asks for nothing: in the others a second model decides,
                        # which costs, or its own sandbox, which cannot be nested in ours.
                        options={MODE: "agent-full-access"},
                        can=Capabilities(
                            resume=True, cancel=True, plan=True, diffs=True, usage=True
                        ),
                        tried=("2.6.0", "2.6.0"),
                    ),
                    Way(
                        by="cli",
                        program="codex",
                        package="@openai/codex",
                        speaks="codex",
                        can=Capabilities(resume=True, plan=True, usage=True),
                        tried=("0.169.0", "0.169.0"),
                    ),
                ),
            ),
            Product(
                name="gemini",
                title="Gemini CLI",
                makers=("gemini",),
                needs=_gemini,
                ways=(
                    Way(
                        by="acp",
                        program="gemini",
                        package="@google/gemini-cli",
                        speaks="acp",
                        arguments=("--acp",),
                        can=_ACP,
                        tried=("0.61.0", "0.61.0"),
                    ),
                ),
            ),
            Product(
                name="copilot",
                title="GitHub Copilot CLI",
                makers=("copilot",),
                needs=_copilot,
                ways=(
                    Way(
                        by="acp",
                        program="copilot",
                        package="@github/copilot",
                        speaks="acp",
                        arguments=("--acp",),
                        can=_ACP,
                        tried=("1.0.102", "1.0.102"),
                    ),
                ),
            ),
            Product(
                name="opencode",
                title="OpenCode",
                makers=("anthropic", "openai", "gemini"),
                needs=_opencode,
                ways=(
                    Way(
                        by="acp",
                        program="opencode",
                        package="opencode-ai",
                        speaks="acp",
                        arguments=("acp",),
                        can=_ACP,
                        tried=("1.18.33", "1.18.33"),
                    ),
                ),
            ),
        )
    }
)


def ways_of(name: str) -> tuple[Product, tuple[Way, ...]] | None:
    """Read a name: `claude` means all its ways by preference, `claude-cli` the one."""
    if name in PRODUCTS:
        return PRODUCTS[name], PRODUCTS[name].ways
    stem, _, by = name.rpartition("-")
    product = PRODUCTS.get(stem)
    chosen = tuple(way for way in product.ways if way.by == by) if product else ()
    return (product, chosen) if product and chosen else None
