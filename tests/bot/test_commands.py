from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.commands import COMMANDS_MAX, Command, Misuse, parse, read
from handlers import FEATURES

USAGES = tuple(feature.usage for feature in FEATURES)


def verbs(body: str) -> list[str]:
    return [found.verb for found in parse(body, USAGES)]


def one(body: str) -> Command:
    (found,) = parse(body, USAGES)
    assert isinstance(found, Command), found
    return found


def misuse(body: str) -> str:
    (found,) = parse(body, USAGES)
    assert isinstance(found, Misuse), found
    return found.sentence


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("/approve", ["approve"]),
        ("Looks good.\n/approve\n", ["approve"]),
        ("/approve\r\n/status\r\n", ["approve", "status"]),
        ("please /approve", []),
        (" /approve", []),
        ("> /approve", []),
        ("   > /approve", []),
        ("    /approve", []),
        ("\t/approve", []),
        ("```\n/approve\n```", []),
        ("```\n/approve\n```\n/status", ["status"]),
        ("~~~sh\n/approve\n```\n/cancel\n~~~\n/status", ["status"]),
        ("````\n```\n/approve\n```\n````\n/status", ["status"]),
        ("```\n/approve", []),
        ("<!-- /approve -->", []),
        ("<!--\n/approve\n-->\n/status", ["status"]),
        ("/lgtm\n/assign", []),
        ("/Approve", []),
        ("/approved", []),
        ("//approve", []),
        ("", []),
    ],
)
def test_a_command_stands_at_the_start_of_a_line_that_somebody_says(
    body: str, expected: list[str]
) -> None:
    assert verbs(body) == expected


@pytest.mark.parametrize(
    ("body", "verb", "text", "arguments"),
    [
        ("/orchestrate fix the parser", "orchestrate", "fix the parser", ()),
        ("/orchestrate approve", "approve", "", ()),
        ("/orchestrate approve 1a2b3c4", "approve", "", ("1a2b3c4",)),
        ("/orchestrate rollback base", "rollback", "", ("base",)),
        ("/orchestrate undo the last change", "orchestrate", "undo the last change", ()),
        ("/orchestrate retry failed downloads", "orchestrate", "retry failed downloads", ()),
        ("/orchestrate help me", "orchestrate", "help me", ()),
        ("/orchestrate reject it is too slow", "reject", "it is too slow", ()),
        ("/orchestrate don't touch the tests", "orchestrate", "don't touch the tests", ()),
    ],
)
def test_a_verb_after_the_prefix_is_that_command_when_it_fits(
    body: str, verb: str, text: str, arguments: tuple[str, ...]
) -> None:
    found = one(body)
    assert (found.verb, found.text, found.arguments, found.bare) == (verb, text, arguments, False)


@pytest.mark.parametrize(
    ("body", "text", "options"),
    [
        ("/orchestrate fix it --agent ruff", "fix it", {"agent": "ruff"}),
        ("/orchestrate --agent=ruff fix it", "fix it", {"agent": "ruff"}),
        ('/orchestrate fix it --agent "my agent"', "fix it", {"agent": "my agent"}),
        ('/orchestrate fix it --agent="my agent"', "fix it", {"agent": "my agent"}),
        ("/orchestrate 'add a --verbose flag'", "add a --verbose flag", {}),
        ('/orchestrate "say \\"hello\\"" --plan', 'say "hello"', {"plan": ""}),
        ("/orchestrate fix -- --plan", "fix --plan", {}),
        ('/orchestrate fix the " sign', 'fix the " sign', {}),
        ("/orchestrate it's the users' turn", "it's the users' turn", {}),
    ],
)
def test_options_and_quotes_are_read_as_a_shell_does(
    body: str, text: str, options: dict[str, str]
) -> None:
    found = one(body)
    assert (found.text, dict(found.options)) == (text, options)


@pytest.mark.parametrize(
    ("body", "arguments", "paths"),
    [
        ("/rollback 2 --paths docs/**", ("2",), ["docs/**"]),
        ("/rollback 2 --paths docs/** *.md 'a b'", ("2",), ["docs/**", "*.md", "a b"]),
        ("/rollback --paths=docs/** --paths *.md x", (), ["docs/**", "*.md", "x"]),
        ("/rollback --paths a '--b' --paths=c", (), ["a", "--b", "c"]),
        ("/rollback --paths a -- base", ("base",), ["a"]),
    ],
)
def test_an_option_of_many_values_takes_the_words_up_to_the_next_option(
    body: str, arguments: tuple[str, ...], paths: list[str]
) -> None:
    found = one(body)
    assert (found.arguments, found.options["paths"].split("\n")) == (arguments, paths)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("/rollback --paths", "`--paths` needs a value"),
        ("/rollback --only-violations=yes", "`--only-violations` takes no value"),
        ("/orchestrate fix --fast", "no option `--fast`"),
        ("/orchestrate fix --agent", "`--agent` needs a value"),
        ("/orchestrate fix --plan=yes", "`--plan` takes no value"),
        ("/orchestrate", "Something is missing"),
        ("/approve one two", "not how it is written"),
        ("/pause now", "not how it is written"),
        ("/resume --speed 3", "no option `--speed`"),
    ],
)
def test_what_is_written_wrongly_is_answered_with_the_usage_line(body: str, says: str) -> None:
    sentence = misuse(body)
    assert says in sentence
    assert "Usage: `/" in sentence


def test_the_lines_below_a_command_are_its_detail_up_to_the_next_one() -> None:
    first, second = parse("/orchestrate do this\n\n- a\n> b\n\n/status\nthanks", USAGES)
    assert isinstance(first, Command)
    assert isinstance(second, Command)
    assert first.detail == "- a\n> b"
    assert second.detail == "thanks"
    assert (first.line, second.line) == (1, 6)


def test_a_request_may_stand_on_the_lines_below() -> None:
    found = one("/orchestrate\nRename the module.")
    assert (found.text, found.detail) == ("", "Rename the module.")


def test_no_more_commands_than_the_limit_are_read() -> None:
    assert len(parse("/status\n" * 50, USAGES)) == COMMANDS_MAX


def test_every_example_in_the_help_is_a_command_of_its_own() -> None:
    for usage in USAGES:
        for example in usage.examples:
            assert one(example).verb == usage.verb


def test_the_command_line_reads_the_same_grammar() -> None:
    assert read("rollback", "2", USAGES) == Command("rollback", ("2",), bare=True)


@given(st.text(max_size=300))
def test_no_text_breaks_the_parser(body: str) -> None:
    for found in parse(body, USAGES):
        assert found.line >= 1


@given(st.lists(st.sampled_from(["/approve", "> /approve", "```", "text", "    /undo", "<!--"])))
def test_a_quoted_text_commands_nothing(lines: list[str]) -> None:
    quoted = "\n".join(f"> {line}" for line in lines)
    assert parse(quoted, USAGES) == []
