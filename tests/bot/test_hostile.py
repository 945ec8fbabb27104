"""What somebody sends who means harm: words that are no commands, names, and webhooks' fields."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest

from bot.commands import parse
from bot.payloads import CommentCreated
from bot.payloads import parse as arrival_of
from bot.runs.texts import slug
from handlers import FEATURES

USAGES = tuple(feature.usage for feature in FEATURES)

NO_COMMANDS = [
    *("> /approve", ">/approve", "   > /approve", "- > /approve", "see /approve", "a /approve"),
    *("`/approve`", "```\n/approve\n```", "~~~\n/approve\n~~~", "````\n```\n/approve\n````"),
    *("```sh\n/approve", "    /approve", "\t/approve", "<!-- /approve -->", "<!--\n/approve\n-->"),
    *("<!-- a\n-->\n<!--\n/approve", "//approve", "/ approve", "\\/approve", "\u2215approve"),
    *("\uff0fapprove", "\u200b/approve", "\u00a0/approve", "\ufeff/approve", "\u202e/approve"),
    *("/\u200bapprove", "/appr\u043eve", "/approve\u200b", "/APPROVE", "/Approve", "/approve.me"),
    *("/approve/", "/approve-now", "/approved", "http://x/approve", "**/approve**", "_/approve_"),
    *("[/approve](x)", "| /approve |", "# /approve", "1. /approve", "* /approve", "&#47;approve"),
    *("%2Fapprove", "\u2028/approve", "a\u2029/approve", "a\x0b/approve", "a\x0c/approve"),
    *(
        "a\x85/approve",
        "a\x1c/approve",
        "/orchestrated x",
        "/orchestrate-x y",
        "/orchestr\u0430te x",
    ),
    *("", "/", "/\n", "\0/approve", "/approve\0"),
]


@pytest.mark.parametrize("text", NO_COMMANDS, ids=range(len(NO_COMMANDS)))
def test_what_only_looks_like_a_command_is_none(text: str) -> None:
    assert parse(text, USAGES) == []


@pytest.mark.parametrize("count", [11, 1000, 50_000])
def test_a_comment_of_many_commands_gives_ten(count: int) -> None:
    assert len(parse("/status\n" * count, USAGES)) == 10


TITLES = [
    *("../../etc/passwd", "a..b", "@{u}", "x.lock", "-rf /", "--upload-pack=id", "$(id)", "`id`"),
    *("a\nb", "a\0b", "\u202eevil", "refs/heads/main", "HEAD", "main", "~^:?*[", "\\", "/", "//"),
    *(
        "",
        " ",
        ".",
        "..",
        "日本語",
        "é" * 300,
        "a" * 10_000,
        "'; rm -rf / #",
        "<script>",
        "%00",
        "\x7f",
    ),
]


@pytest.mark.parametrize("title", TITLES, ids=range(len(TITLES)))
def test_a_branch_is_named_by_letters_digits_and_hyphens_alone(title: str) -> None:
    assert re.fullmatch(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?", slug(title))
    assert len(slug(title)) <= 40


COMMENT: dict[str, Any] = {
    "action": "created",
    "installation": {"id": 1},
    "repository": {
        "id": 7,
        "name": "widgets",
        "owner": {"login": "acme"},
        "default_branch": "main",
        "clone_url": "https://example.org/acme/widgets.git",
        "size": 1,
    },
    "sender": {"login": "ada", "type": "User"},
    "issue": {"number": 3, "title": "t", "body": "b", "user": {"login": "ada", "type": "User"}},
    "comment": {
        "id": 5,
        "body": "/approve",
        "user": {"login": "ada", "type": "User"},
        "created_at": "2026-01-01T00:00:00Z",
        "html_url": "https://example.org/c",
    },
}
PLACES = [
    *(
        ("repository",),
        ("repository", "id"),
        ("repository", "owner"),
        ("repository", "owner", "login"),
    ),
    *(("installation",), ("installation", "id"), ("issue",), ("issue", "number"), ("comment",)),
    *(("comment", "id"), ("comment", "user"), ("comment", "user", "login")),
    *(("comment", "created_at"), ("comment", "body")),
]
VALUES: list[Any] = [None, -1, "x", [], {}, True, 10**30, [[[[]]]], "\0", 1.5]


def test_the_comment_as_it_should_be_is_read() -> None:
    assert isinstance(arrival_of("issue_comment", json.dumps(COMMENT).encode()), CommentCreated)


@pytest.mark.parametrize("place", PLACES, ids=".".join)
def test_a_field_of_another_kind_is_passed_over_and_breaks_nothing(place: tuple[str, ...]) -> None:
    for value in VALUES:
        payload = copy.deepcopy(COMMENT)
        target = payload
        for key in place[:-1]:
            target = target[key]
        target[place[-1]] = value
        found = arrival_of("issue_comment", json.dumps(payload).encode())
        assert found is None or isinstance(found, CommentCreated)
        if isinstance(found, CommentCreated):
            assert isinstance(found.where.repository, int)
            assert isinstance(found.author, str)
            assert isinstance(found.body, str)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"null", b"[]", b"1", b'"x"', b"{", b"{}", b"\xff\xfe", b"\0", b'{"action": NaN}'),
        *(b"[" * 100_000, b'{"a":' * 50_000, b'{"action": "created"', b"{}{}", b'{"a": 1e999}'),
        b'{"comment": {"id": ' + b"9" * 5000 + b"}}",
    ],
    ids=range(16),
)
def test_a_body_that_is_no_event_is_ignored(body: bytes) -> None:
    assert arrival_of("issue_comment", body) is None
