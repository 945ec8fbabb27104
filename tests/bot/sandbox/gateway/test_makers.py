from __future__ import annotations

import pytest

from bot.errors import OperatorError
from bot.sandbox.gateway.makers import OAUTH_BETA, configured


def headers(environ: dict[str, str], maker: str) -> dict[str, str]:
    return dict(configured(environ)[maker].headers)


def test_without_a_key_or_an_endpoint_there_is_nobody() -> None:
    assert configured({}) == {}
    assert configured({"ANTHROPIC_API_KEY": " ", "PATH": "/bin"}) == {}


@pytest.mark.parametrize(
    ("environ", "maker", "expected"),
    [
        ({"ANTHROPIC_API_KEY": "k"}, "anthropic", {"x-api-key": "k"}),
        ({"ANTHROPIC_AUTH_TOKEN": "t"}, "anthropic", {"authorization": "Bearer t"}),
        ({"CLAUDE_CODE_OAUTH_TOKEN": "o"}, "anthropic", {"authorization": "Bearer o"}),
        (
            {"ANTHROPIC_AUTH_TOKEN": "t", "ANTHROPIC_API_KEY": "k"},
            "anthropic",
            {"authorization": "Bearer t"},
        ),
        (
            {"ANTHROPIC_API_KEY": "k", "CLAUDE_CODE_OAUTH_TOKEN": "o"},
            "anthropic",
            {"x-api-key": "k"},
        ),
        (
            {"OPENAI_API_KEY": "k", "OPENAI_ORG_ID": "org", "OPENAI_PROJECT": "proj"},
            "openai",
            {
                "authorization": "Bearer k",
                "openai-organization": "org",
                "openai-project": "proj",
            },
        ),
        ({"GEMINI_API_KEY": "k", "GOOGLE_API_KEY": "g"}, "gemini", {"x-goog-api-key": "k"}),
        ({"GOOGLE_API_KEY": "g"}, "gemini", {"x-goog-api-key": "g"}),
        ({"OPENAI_API_KEY": "k"}, "copilot", {"authorization": "Bearer k"}),
        ({"OPENAI_BASE_URL": "http://localhost:11434/v1"}, "openai", {}),
        (
            {"COPILOT_PROVIDER_BASE_URL": "https://x.example/v1", "COPILOT_PROVIDER_API_KEY": "c"},
            "copilot",
            {"authorization": "Bearer c"},
        ),
        (
            {
                "COPILOT_PROVIDER_BASE_URL": "https://x.example",
                "COPILOT_PROVIDER_API_KEY": "c",
                "COPILOT_PROVIDER_TYPE": "anthropic",
            },
            "copilot",
            {"x-api-key": "c"},
        ),
    ],
)
def test_the_key_goes_where_its_maker_wants_it(
    environ: dict[str, str], maker: str, expected: dict[str, str]
) -> None:
    assert headers(environ, maker) == expected


def test_an_oauth_token_is_announced() -> None:
    assert configured({"CLAUDE_CODE_OAUTH_TOKEN": "o"})["anthropic"].betas == (OAUTH_BETA,)
    assert configured({"ANTHROPIC_API_KEY": "k"})["anthropic"].betas == ()


def test_endpoints_are_the_makers_own_or_those_that_the_host_names() -> None:
    own = configured({"ANTHROPIC_API_KEY": "a", "OPENAI_API_KEY": "o", "GEMINI_API_KEY": "g"})
    assert {name: each.base for name, each in own.items()} == {
        "anthropic": "https://api.anthropic.com",
        "openai": "https://api.openai.com/v1",
        "copilot": "https://api.openai.com/v1",
        "gemini": "https://generativelanguage.googleapis.com",
    }
    named = configured({"ANTHROPIC_API_KEY": "a", "ANTHROPIC_BASE_URL": "https://gw.example/a/"})
    assert named["anthropic"].base == "https://gw.example/a"


@pytest.mark.parametrize(
    "address",
    ["api.anthropic.com", "ftp://x.example", "https://", "https://x?a=b", "http://x:99999"],
)
def test_an_endpoint_that_is_no_address_names_the_variable(address: str) -> None:
    with pytest.raises(OperatorError, match="ANTHROPIC_BASE_URL is not an address"):
        configured({"ANTHROPIC_BASE_URL": address})


def test_a_provider_that_is_not_supported_is_named() -> None:
    environ = {"COPILOT_PROVIDER_BASE_URL": "https://x.example", "COPILOT_PROVIDER_TYPE": "azure"}
    with pytest.raises(OperatorError, match="azure is not supported"):
        configured(environ)


def test_every_secret_is_told_with_passwords_in_addresses() -> None:
    environ = {"ANTHROPIC_API_KEY": "key", "ANTHROPIC_BASE_URL": "https://me:word@gw.example"}
    assert configured(environ)["anthropic"].secrets == {"key", "word"}
