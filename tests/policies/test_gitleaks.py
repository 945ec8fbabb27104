from __future__ import annotations

import os
import random
import time
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.gitleaks import Found, entropy, kinds, scan
from tests.policies.leaky import ANTHROPIC, AWS, GENERIC, GITHUB, PEM, SLACK, STRIPE


def found(text: str, path: str = "src/a.py") -> list[tuple[int, str]]:
    return sorted((each.line, each.kind) for each in scan(path, text.encode()))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (f'key = "{AWS}"', "aws-access-token"),
        (f"token: {GITHUB}\n", "github-pat"),
        (f"hook({SLACK})", "slack-bot-token"),
        (f"stripe.key = '{STRIPE}'", "stripe-access-token"),
        (f"export ANTHROPIC_API_KEY={ANTHROPIC}\n", "anthropic-api-key"),
        (PEM, "private-key"),
        (f'api_key = "{GENERIC}"', "generic-api-key"),
        (f"PASSWORD\n  = '{GENERIC}'", "generic-api-key"),
        (f'{{"client_secret": "{GENERIC}"}}', "generic-api-key"),
    ],
)
def test_a_secret_is_found_by_its_kind(text: str, kind: str) -> None:
    assert kind in {name for _, name in found(f"one\ntwo\n{text}\n")}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0" * 1000,
        'token = os.environ["GITHUB_TOKEN"]',
        "password = getpass.getpass()",
        'api_key = "your-api-key-here"',
        "api_key = ${{ secrets.API_KEY }}",
        "secret = xxxxxxxxxxxxxxxxxxxxxxxx",
        "AKIAIOSFODNN7" + "EXAMPLE",  # AWS's own example
        "public_key = 'ssh-ed25519 AAAA'",
        "def token(self) -> str: return self._token",
        "sha256:" + "0123456789abcdef" * 4,
    ],
)
def test_what_is_none_is_passed_over(text: str) -> None:
    assert found(text) == []


def test_the_line_is_that_of_the_secret_itself() -> None:
    assert found(f'a\n\nkey = "{AWS}"\nb\n{GITHUB}\n') == [
        (3, "aws-access-token"),
        (5, "github-pat"),
    ]


def test_one_secret_is_told_once_by_the_rule_that_knows_it() -> None:
    assert found(f'api_key = "{AWS}"') == [(1, "aws-access-token")]


@pytest.mark.parametrize("path", ["logo.png", "node_modules/x/index.js", "web/yarn.lock"])
def test_what_gitleaks_never_reads_is_not_read(path: str) -> None:
    assert found(AWS, path) == []


def test_a_key_store_is_told_by_its_name() -> None:
    assert found("anything", "certs/server.p12") == [(1, "pkcs12-file")]


def test_a_marked_line_is_told_as_such() -> None:
    text = f"{AWS}  # gitleaks:allow\n{GITHUB}\n"
    assert {each.kind: each.marked for each in scan("a", text.encode())} == {
        "aws-access-token": True,
        "github-pat": False,
    }


def test_the_same_secret_is_known_again_elsewhere() -> None:
    here, there = (
        [each.digest for each in scan("a", text.encode())]
        for text in (f"{AWS}", f"x = 1\ny = '{AWS}'")
    )
    assert here == there
    assert next(scan("a", b"AKIA" + b"ZYLPMN5HHHFPZAM2")).digest != here[0]


def test_what_was_found_does_not_show_the_secret() -> None:
    assert AWS not in repr(next(scan("a", AWS.encode())))


def test_every_rule_of_the_published_set_is_there() -> None:
    assert len(kinds()) == 222
    assert {"aws-access-token", "private-key", "generic-api-key"} <= kinds()


@pytest.mark.parametrize(("text", "bits"), [(b"aaaa", 0.0), (b"abab", 1.0), (b"abcd", 2.0)])
def test_entropy_is_shannon_s(text: bytes, bits: float) -> None:
    assert entropy(text) == pytest.approx(bits)


LINES = st.sampled_from(
    [f'k = "{AWS}"', f"t: {GITHUB}", "x = 1", "", f"api_key = '{GENERIC}'", "import os", "key"]
)


@given(st.lists(LINES, max_size=12), st.lists(LINES, max_size=4))
def test_more_text_never_hides_a_secret(lines: list[str], more: list[str]) -> None:
    before = Counter(kind for _, kind in found("\n".join(lines) + "\n"))
    after = Counter(kind for _, kind in found("\n".join([*lines, *more]) + "\n"))
    assert before <= after


@given(st.binary(max_size=400), st.text(max_size=30))
def test_any_bytes_under_any_name_are_read(content: bytes, path: str) -> None:
    assert all(isinstance(each, Found) for each in scan(path, content))


@pytest.mark.parametrize(
    "content",
    [
        b"api_key=" * 40_000,
        b"a" * 300_000,
        b"-----BEGIN PRIVATE KEY-----" * 10_000,
        b"curl " * 60_000,
        os.urandom(16) * 20_000,
        b"s." * 150_000,
        b"key = '" + b"\\" * 300_000,
    ],
    ids=["keyword", "letters", "begun keys", "curl", "noise", "dots", "backslashes"],
)
def test_time_follows_the_length_whatever_the_text(content: bytes) -> None:
    list(scan("warm", b"key"))
    started = time.process_time()
    assert len(list(scan("a", content))) < 50_000
    # 300 KB take 15 ms where they are ordinary; what is quadratic takes minutes.
    assert time.process_time() - started < 5


def test_a_secret_among_much_else_is_found() -> None:
    chance = random.Random(6)
    lines = [f"value_{n} = function_{chance.randrange(10**6)}(key, {n})" for n in range(20_000)]
    lines[12_345] = f"SECRET = '{SLACK}'"
    assert found("\n".join(lines)) == [(12_346, "slack-bot-token")]
