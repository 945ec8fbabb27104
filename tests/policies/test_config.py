from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from policies.config import Check, Config, Problem, parse
from policies.facts import Role
from tests.policies.builders import config

FULL = """\
# Every section at once.
agent: fixer
agents:
  fixer: {command: "ruff check --fix ."}
  other:
    command: |
      set -e
      make fix
checks:
  - name: tests
    run: pytest -q --junitxml=report.xml
    report: report.xml
    minutes: 20
  - {name: lint, run: ruff check .}
paths:
  protected: ["/deploy/**", "!uv.lock"]
  allowed: [src/, tests/]
commands:
  aliases: false
  who: {approve: admin, orchestrate: triage}
approval: {required: 1, requester: never}
limits: {turns: 5, minutes: 45, files: 50, megabytes: 2, runs_per_issue: 2}
merge: {method: squash}
schedule:
  - name: nightly
    cron: 0 3 * * 1-5
    timezone: Europe/Berlin
    request: Update the idioms.
    agent: other
label: bot
base: develop
"""


def problems(text: str | bytes) -> tuple[Problem, ...]:
    parsed = parse(text)
    assert parsed.config is None
    return parsed.problems


@pytest.mark.parametrize(
    "text", ["", b"", "\n\n", "# only a comment\n", "---\n", "~", "\ufeff", "{}"]
)
def test_an_empty_file_means_the_defaults(text: str | bytes) -> None:
    assert parse(text).config == Config()


def test_the_defaults_are_careful() -> None:
    defaults = Config()
    assert defaults.checks == "auto"
    assert defaults.approval.requester == "if-alone"
    assert defaults.limits.runs_per_issue == 1
    assert defaults.merge.method == "merge"
    assert defaults.label == "orchestrate"
    assert defaults.commands.least_role("approve") is Role.MAINTAIN
    assert defaults.commands.least_role("destroy") is None


def test_every_section_is_read() -> None:
    read = config(FULL)
    assert read.agent == "fixer"
    assert read.agents["other"].command == "set -e\nmake fix\n"
    assert read.checks == (
        Check(name="tests", run="pytest -q --junitxml=report.xml", report="report.xml", minutes=20),
        Check(name="lint", run="ruff check ."),
    )
    assert read.paths.protected == ("/deploy/**", "!uv.lock")
    assert read.paths.allowed == ("src/", "tests/")
    assert not read.commands.aliases
    assert read.commands.least_role("orchestrate") is Role.TRIAGE
    assert read.limits.turns == 5
    assert read.schedule[0].cron == "0 3 * * 1-5"
    assert read.schedule[0].timezone == "Europe/Berlin"
    assert (read.merge.method, read.label, read.base) == ("squash", "bot", "develop")


def test_bytes_are_read_as_the_text_is() -> None:
    assert parse(FULL.encode()) == parse(FULL)
    assert parse(b"\xef\xbb\xbf" + FULL.encode()) == parse(FULL)


def test_no_checks_can_be_asked_for() -> None:
    assert config("checks: []").checks == ()
    assert config("checks: auto").checks == "auto"


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("limits:\n  minuts: 4\n", 2, 3, "did you mean `minutes`?"),
        ("lables: x", 1, 1, "did you mean `label`?"),
        ("xyzzy: 1", 1, 1, "use one of `extends`, `agent`"),
        ("agent: x\nnetwork: {}", 2, 1, "`network` is not supported by this version"),
        ("freeze: [{name: a, start: noon, end: mon 08:00}]", 1, 27, "This is no time"),
        ("freeze: [{name: a, start: fri 16:00, end: '08:00'}]", 1, 10, "both ends alike"),
        ("freeze: [{name: a, start: '24:00', end: '00:00'}]", 1, 10, "always or never"),
        ("freeze: [{name: a, start: 2026-02-30, end: 2026-03-01}]", 1, 27, "no such date"),
        ("freeze: [{name: a, start: 2026-03-02, end: 2026-03-01}]", 1, 10, "before the start"),
        ("hold: {labels: ['a,b']}", 1, 17, "without commas"),
        ("sandbox: none", 1, 1, "set by whoever runs the server"),
        ("agents: {a: {command: x, sandbox: none}}", 1, 26, "set by whoever runs the server"),
        ("checks:\n- name: a\n  run: b\n  minute: 1", 4, 3, "did you mean `minutes`?"),
        ("checks:\n- run: b", 2, 3, "`name` is missing here"),
        ("limits: {turns: '3'}", 1, 17, "`turns` must be a whole number, not text"),
        ("limits: {turns: true}", 1, 17, "not `true`"),
        ("limits: {turns: 2.5}", 1, 17, "not the number 2.5"),
        ("limits: {turns: 0}", 1, 17, "at least 1"),
        ("limits: {turns: 21}", 1, 17, "at most 20"),
        ("limits: 5", 1, 9, "`limits` must be keys with values"),
        ("label: [a]", 1, 8, "`label` must be text, not a list"),
        ("commands: {aliases: no}", 1, 21, "`aliases` must be `true` or `false`"),
        ("checks: maybe", 1, 9, "`checks` must be `auto` or a list"),
        ("checks: {a: b}", 1, 9, "`checks` must be a list"),
        ("merge:\n  method: octopus", 2, 11, "one of `merge`, `squash`, `rebase`"),
        ("approval: {required: 7}", 1, 22, "may be at most 6"),
        ("commands: {who: {aprove: write}}", 1, 18, "did you mean `approve`?"),
        ("commands: {who: {approve: king}}", 1, 27, "one of `none`, `read`"),
        ("commands: {who: {orchestrate: read}}", 1, 17, "strangers may have"),
        ("commands: {who: {orchestrate: {role: read}}}", 1, 17, "strangers may have"),
        ("commands: {who: {approve: {userz: [a]}}}", 1, 28, "did you mean `users`?"),
        ("commands: {who: {approve: {users: ['a b']}}}", 1, 36, "name on GitHub"),
        ("commands: {who: {approve: {teams: [a/b]}}}", 1, 36, "without the organisation"),
        ("commands: {who: {approve: [ada]}}", 1, 27, "keys with values"),
        ("commands: {who: {approve: triage}}", 1, 17, "ask for write or more"),
        ("agents:\n  '!!': {command: x}", 2, 3, "letters, digits"),
        ("agents: {a: {command: ''}}", 1, 23, "write what is to be done"),
        ("paths: {protected: [ok, 'a*b*c*']}", 1, 25, "split it into several"),
        ("paths: {allowed: []}", 1, 18, "would allow nothing"),
        ("checks: [{name: a, run: b, report: ../x}]", 1, 36, "inside the repository"),
        ("checks: [{name: a, run: b, report: /x}]", 1, 36, "inside the repository"),
        ("checks: [{name: Rules, run: b}]", 1, 17, "check of our own"),
        ("checks:\n- {name: a, run: b}\n- {name: A, run: c}", 3, 10, "stands twice"),
        ("schedule:\n- name: n\n  cron: daily\n  request: r", 3, 9, "five fields"),
        (
            "schedule:\n- name: n\n  cron: 0 0 * * *\n  timezone: Mars/X\n  request: r",
            4,
            13,
            "no time zone",
        ),
        ("base: a..b", 1, 7, "branch"),
        ("label: 'a,b'", 1, 8, "without commas"),
        ("[1]", 1, 1, "keys with values"),
        ("text", 1, 1, "keys with values"),
        ("agent: a\nlabel: b\nagent: c", 3, 1, "stands here twice"),
        ("a: 1\n---\nb: 2", 2, 1, "second document"),
        ("a: &x 1", 1, 4, "Anchors"),
        ("label: *x", 1, 8, "Aliases"),
        ("label: !uv.lock", 1, 8, "Tags"),
        ("paths: {protected: [*.py]}", 1, 22, "put quotes around"),
        ("label: !!python/object:os.system x", 1, 8, "Tags"),
        ("? [a]\n: b", 1, 3, "key must be a word"),
        ("agent:\n\t- x", 2, 1, "blanks instead of tabs"),
        ('label: "\\UFFFFFFFF"', 1, 1, "not YAML"),
        ('label: "\\uD800"', 1, 8, "half a character"),
        ("a: b\nlabel: \x07", 2, 1, "does not print"),
        (b"a: b\nlabel: \xff", 2, 1, "UTF-8"),
        ("x" * 65_537, 1, 1, "64 KiB"),
        ("a: " + "[" * 30, 1, 14, "levels deep"),
    ],
)
def test_a_problem_is_told_on_its_line(
    text: str | bytes, line: int, column: int, said: str
) -> None:
    found = problems(text)
    assert (found[0].line, found[0].column) == (line, column), found
    assert said in found[0].message


def test_every_problem_is_told_in_the_order_of_the_file() -> None:
    found = problems("limits:\n  turns: 99\n  flies: 1\nagent: '?'\nmerge: {method: x}\n")
    assert [problem.line for problem in found] == [2, 3, 4, 5]
    assert all(problem.message[-1] in ".?" for problem in found)


def test_words_that_old_yaml_took_for_something_else_stay_words() -> None:
    read = config("label: on\nagent: no\nbase: 1e3\n")
    assert (read.label, read.agent, read.base) == ("on", "no", "1e3")


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 60_000,
        "a: " + "{x: " * 15_000,
        "- " * 30_000,
        "? " * 30_000,
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
        "".join(f"k{number}: 1\n" for number in range(6_000)),
        "schedule:\n" + "- {name: a}\n" * 5_000,
        "label: " + "9" * 60_000,
        "a: " + "!" * 60_000,
        "'" * 60_001,
    ],
    ids=["lists", "maps", "dashes", "keys", "aliases", "wide", "long", "digits", "tags", "quotes"],
)
def test_hostile_files_are_refused_quickly_and_briefly(text: str) -> None:
    started = time.process_time()
    found = problems(text)
    assert time.process_time() - started < 3
    assert 1 <= len(found) <= 50
    assert all(len(problem.message) < 500 for problem in found)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
KEYS = st.sampled_from([*Config.model_fields, "name", "run", "cron", "who", "extends"]) | st.text(
    max_size=5
)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4)
)


def is_well_told(text: str | bytes) -> None:
    parsed = parse(text)
    assert (parsed.config is None) is bool(parsed.problems)
    for problem in parsed.problems:
        assert problem.line >= 1
        assert problem.column >= 1
        assert problem.message.isprintable()


@given(st.text())
def test_any_text_is_read_or_explained(text: str) -> None:
    is_well_told(text)


@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@,?\\x0U \n\t"))
def test_anything_that_looks_like_yaml_is_read_or_explained(text: str) -> None:
    is_well_told(text)


@given(st.binary())
def test_any_bytes_are_read_or_explained(data: bytes) -> None:
    is_well_told(data)


@given(st.dictionaries(KEYS, TREES, max_size=4))
def test_any_tree_is_read_or_explained(tree: dict[str, Any]) -> None:
    is_well_told(yaml.safe_dump(tree, allow_unicode=True))
