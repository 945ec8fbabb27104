"""What somebody writes who means harm: it is refused, or it is what it looks like."""

from __future__ import annotations

import time

import pytest

from policies.cases import parse_cases
from policies.config import Config, parse
from policies.facts import ChangeStatus, Commit, HoldFacts, Person, Role, TrustFacts, WorkFacts
from policies.hold import check_hold
from policies.paths import check_paths
from policies.roles import may_act
from policies.sections import Hold
from policies.sign_off import check_sign_off
from policies.trust import check_changed, check_trust, check_work
from policies.verdict import code
from tests.policies.builders import change

PATHS = [
    *(".git", ".git/config", ".GIT/config", "a/.git/hooks/pre-commit", ".git /x", ".git./x"),
    *("a/.git. /x", "git~1/config", "a/GIT~1/x", "\u200c.git/x", ".g\u200cit/x", ".git\u200d/x"),
    *(".git::$INDEX_ALLOCATION/x", "a/.git::$DATA", "a/.Git:x", "a/.git\\config", ".git\\config"),
    *("a\\..\\.git\\x", "..\\x", "a/..", "a/../b", "..", ".", "a/.", "a/b. ", "a /b", "a./b"),
    *(".github/workflows/x.yml", ".GITHUB/WORKFLOWS/x.yml", ".github/workflows./x.yml"),
    *(".github /workflows/x.yml", ".github/workflows\u200b/x", ".\u200cgithub/workflows/x"),
    *(".github\\workflows\\x.yml", ".github/orchestrate.yml", ".github/Orchestrate.YML"),
    *(
        "CODEOWNERS",
        "codeowners",
        "docs/CODEOWNERS",
        "CODEOWNERS ",
        "CODEOWNERS.",
        "docs/Codeowners",
    ),
    *("AGENTS.md", "agents.MD", "a/b/CLAUDE.md", "CLAUDE.md ", "CLAUDE.md.", "CLAUDE\u200c.md"),
    *("\ufeffAGENTS.md", "GEMINI.md\u2060", "a/.cursor/x", ".mcp.json", "a/.mcp.json", ".claude/x"),
    *(
        "uv.lock",
        "a/UV.LOCK",
        "uv.lock ",
        "uv.lock.",
        "u\u00advv.lock\u00ad",
        "go.sum",
        "a/yarn.lock",
    ),
    *(".gitmodules", ".gitmodules ", ".gitattributes", "a/.GitAttributes", ".npmrc", "a/.npmrc."),
    *("a\nb", "a\rb", "a\0b", "a\tb", "a\x1b[31mb", "a\x7fb", "a\u202eb", "a\u2066b", "a\u2069b"),
    *("a\u2028b", "a\u2029b", "\u200bfile", "fi\u00adle", "a\ufeffb", "x" * 1025, "\ud800x"),
    *("Jenkinsfile", "jenkinsfile", ".gitlab-ci.yml", ".circleci/config.yml", ".vscode/tasks.json"),
]


@pytest.mark.parametrize("path", PATHS)
def test_a_hostile_path_is_refused_in_one_line(path: str) -> None:
    verdict = check_paths([change("src/a.py"), change(path)], Config())
    assert not verdict.allowed
    assert verdict.reason.isprintable()
    assert "src/a.py" not in verdict.reason
    assert verdict.reason.endswith(".")


@pytest.mark.parametrize(
    "path",
    [
        *("git", "a/git/b", "gitlab.py", "src/git~x.py", "a..b", "...a", "a/.hidden", "é/ü.py"),
        *("日本語.md", "a b/c d.txt", "naïve.py", "-rf", "--help", "$(id)", "`id`", "a;b", "a|b"),
        *("'; DROP TABLE runs; --", "<script>.js", "%2e%2e/x", "a:b", "con", "nul.txt", "~/x"),
    ],
)
def test_an_odd_path_that_is_what_it_looks_like_may_be_changed(path: str) -> None:
    assert check_paths([change(path)], Config()).allowed


BOMBS = [
    "a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]",
    "limits: &l {files: 1}\nmerge: *l",
    "<<: {files: 1}",
    "limits: {<<: {files: 1}}",
    "limits: !!python/object/apply:os.system ['id']",
    "label: !!python/name:os.system",
    "label: !!binary aGk=",
    "label: !custom x",
    "? [a, b]\n: c",
    "? {a: b}\n: c",
    "[" * 5000,
    "{a: " * 3000,
    "- " * 5000,
    "a: " + "[" * 20 + "]" * 20,
    "limits: {files: 99999999999999999999999999}",
    "limits: {files: 1e9}",
    "limits: {files: .inf}",
    "limits: {usd: .nan}",
    "limits: {usd: 1e400}",
    "limits: {files: 0x10}",
    "limits: {files: 0o17}",
    "limits: {files: 1_000}",
    "limits: {files: 2026-01-01}",
    "limits: {files: -1}",
    "limits: {files: 0}",
    "limits: {files: true}",
    "limits: {files: '9'}",
    "limits: {files: [9]}",
    "limits: {files: 9, files: 10000}",
    "limits: {files: 9}\nlimits: {files: 10000}",
    "a: b\n---\nlimits: {files: 10000}",
    "--- \n...\n---\n",
    "%YAML 9.9\n---\na: b",
    "%TAG ! tag:evil,2000:\n---\na: b",
    "label: \x00",
    "label: \x1b[31m",
    "\x00",
    'label: "\\ud800"',
    'label: "\\x00"',
    'label: "a\\nb"',
    "label: 'a,b'",
    "\tlabel: x",
    "label: x\n\tbase: y",
    "label: |\n  " + "x" * 70_000,
    "x" * 70_000,
    "a" * 200 + ": b",
    "\u202elabel: x",
    "l\u0430bel: x",
    "label\u200b: x",
    "paths: {protected: ['!' ]}",
    "paths: {protected: ['" + "*" * 190 + "']}",
    "paths: {protected: ['a**b**c**d']}",
    "paths: {protected: ['[a-']}",
    'paths: {protected: ["a\\u0000b"]}',
    "paths: {protected: [" + ",".join(["x"] * 101) + "]}",
    "paths: {allowed: []}",
    "paths: {agents: {'../x': {}}}",
    "paths: {agents: {a: {protected: ['!x']}}}",
    "commands: {who: {approve: read}}",
    "commands: {who: {orchestrate: none}}",
    "commands: {who: {override: triage}}",
    "commands: {who: {'approve ': admin}}",
    "checks: [{name: rules, run: x}]",
    "checks: [{name: a, run: x}, {name: A, run: y}]",
    "checks: [{name: a, run: x, report: ../../etc/passwd}]",
    "checks: [{name: a, run: x, report: /etc/passwd}]",
    "checks: [{name: '<img src=x>', run: x}]",
    'checks: [{name: a, run: "a\\0b"}]',
    "checks: manual",
    "setup: {network: ['*']}",
    "setup: {network: ['evil.example/..']}",
    "setup: {network: ['user@evil.example']}",
    "setup: {secrets: ['A=B']}",
    "setup: {files: [../x]}",
    "schedule: [{name: a, cron: '* * * * * *', request: x}]",
    "schedule: [{name: a, cron: '@reboot', request: x}]",
    "schedule: [{name: a, cron: '0 3 * * *', timezone: ../../etc/passwd, request: x}]",
    "base: ../x",
    "base: -x",
    "base: 'a..b'",
    "base: 'a b'",
    "base: a.lock",
    "base: '@{upstream}'",
    "sandbox: {kind: none}",
    "trust: {everybody: true}",
    "extends: [../../secret]",
    "extends: ['https://evil.example/preset']",
    "agents: {'a b/../c': {command: x}}",
    "agents: {a: {command: x, speaks: shell}}",
    "agents: {a: {command: ''}}",
    "secrets: {ignored: ['.*']}",
    "secrets: {allowed: ['!']}",
    "approval: {required: 0}",
    "approval: {required: -1}",
    "approval: {requester: anybody}",
    "merge: {method: force}",
    "trust: everything",
    "trust: true",
    "sign_off: yes please",
    "hold: {labels: 'do-not-merge'}",
    "hold: {labels: ['']}",
    "freeze: [{name: a, start: '99:00', end: '08:00'}]",
    "freeze: [{name: a, start: '24:01', end: '08:00'}]",
    "freeze: [{name: a, start: 9999-12-31 24:00, end: 9999-12-31 24:00}]",
    "freeze: [{name: a, start: 0000-00-00, end: 2026-01-01}]",
    "freeze: [{name: a, start: ２２:00, end: '08:00'}]",
    "freeze: [{name: a, start: '08:00', end: '09:00', timezone: ../../etc/passwd}]",
    "freeze: [{name: 'a`b', start: '08:00', end: '09:00'}]",
    "commands: {who: {approve: {role: none}}}",
    "commands: {who: {delegate: triage}}",
    "commands: {who: {unhold: {role: triage, users: [ada]}}}",
    "commands: {who: {approve: {users: ['ada bob']}}}",
    "commands: {who: {approve: {users: ['orchestrate[bot]']}}}",
    "commands: {who: {approve: {users: ['\u0430da']}}}",
    "commands: {who: {approve: {teams: ['../admins']}}}",
    "commands: {who: {approve: {author: everybody}}}",
]


@pytest.mark.parametrize("text", BOMBS, ids=range(len(BOMBS)))
def test_a_hostile_configuration_is_told_on_a_line_and_in_no_time(text: str) -> None:
    started = time.process_time()
    parsed = parse(text)
    assert time.process_time() - started < 2
    assert parsed.config is None
    assert parsed.problems
    for problem in parsed.problems:
        assert problem.line >= 1
        assert problem.message.endswith((".", "?"))
        assert all(line.isprintable() for line in problem.message.splitlines())


@pytest.mark.parametrize("text", BOMBS[:16], ids=range(16))
def test_a_hostile_file_of_cases_is_told_too(text: str) -> None:
    assert parse_cases(text)


MARKDOWN = [
    *("`", "``", "```", "a`b", "`a`", "``a```b", "\n", "a\nb", "a\r\nb", "</code>", "<!-- x -->"),
    *("@everyone", "#1", "![x](http://evil.example)", "[x](javascript:alert(1))", "**b**", "\\`"),
    *(
        "\u202ea",
        "a\u2066b",
        "\x1b[31m",
        "\0",
        "a" * 10_000,
        "`" * 5_000,
        " ",
        "",
        "|",
        "~~~",
        "> a",
    ),
]


@pytest.mark.parametrize("text", MARKDOWN, ids=range(len(MARKDOWN)))
def test_no_name_breaks_out_of_the_code_it_is_shown_as(text: str) -> None:
    shown = code(text)
    fence = shown[: len(shown) - len(shown.lstrip("`"))]
    assert shown.startswith(fence)
    assert shown.endswith(fence)
    inside = shown[len(fence) : -len(fence)]
    assert inside.isprintable()
    assert fence not in {run for run in inside.replace(" ", "x").split("x") if set(run) == {"`"}}
    assert len(shown) < 1000


@pytest.mark.parametrize("text", MARKDOWN, ids=range(len(MARKDOWN)))
def test_no_text_of_people_breaks_out_of_a_refusal(text: str) -> None:
    """The reason of a hold, a commit's author, a label, and the name of a trusted commit."""
    held = Config.model_construct(hold=Hold.model_construct(labels=(text,)))
    refused = (
        check_hold(HoldFacts(frozenset({text}), ((text, text),)), held),
        check_sign_off([Commit("a" * 40, text, text)], Config(sign_off=True)),
        check_trust(TrustFacts(text, "b" * 40, is_open=True), Config(trust="checks")),
    )
    for verdict in refused:
        assert not verdict.allowed
        assert verdict.reason.isprintable()
        assert len(verdict.reason) < 2_000


STRANGE = [
    *("CLAUDE.md", "claude.MD", "a/AGENTS.md", ".github/copilot-instructions.md", "GEMINI.md"),
    *(".github/workflows/x.yml", ".GITHUB/workflows/x.yml", ".github/orchestrate.yml"),
    *("CODEOWNERS", ".github/CODEOWNERS", "docs/CODEOWNERS", ".cursor/rules/x.mdc", ".git/config"),
    *("uv.lock", "package-lock.json", ".gitmodules", "a/../CLAUDE.md", "CLAUDE.md\u200b"),
]


@pytest.mark.parametrize("path", STRANGE)
@pytest.mark.parametrize("kind", ["added", "modified", "deleted"])
def test_no_agent_goes_on_from_what_a_stranger_changed_of_what_is_closed(
    path: str, kind: ChangeStatus
) -> None:
    fine = change("src/a.py")
    verdict = check_changed([fine, change(path, status=kind)], Config(trust="agents"))
    assert not verdict.allowed
    assert "Have people merge that apart" in verdict.reason
    assert check_changed([fine], Config(trust="agents")).allowed


HEADS = ["", "a" * 7, "A" * 40, "a" * 39, "a" * 41, "b" * 40, " " + "a" * 40, "HEAD", "*", "\0"]


@pytest.mark.parametrize("trusted", HEADS)
def test_only_the_very_head_that_was_trusted_is_worked_on(trusted: str) -> None:
    head = "a" * 40
    on = Config(trust="agents")
    assert not check_work(WorkFacts(head, frozenset({trusted}), is_open=True), on).allowed
    both = frozenset({trusted, head})
    assert check_work(WorkFacts(head, both, is_open=True), on).allowed
    assert not check_work(WorkFacts(head, both, is_open=False), on).allowed
    for less in (Config(trust="checks"), Config()):
        assert not check_work(WorkFacts(head, both, is_open=True), less).allowed


LOGINS = [
    *("ada[bot]", "orchestrate[bot]", "dependabot[bot]", "[bot]", "ada-", "bob", "\u0430da", "adа"),
    *("ada ", " ada", "ada\u200b", "ＡＤＡ", "ada/ops", "@ada", "ops", "*", ""),
]


@pytest.mark.parametrize("login", LOGINS)
@pytest.mark.parametrize("command", ["orchestrate", "approve", "delegate"])
def test_nobody_passes_for_somebody_who_is_named(login: str, command: str) -> None:
    rules = parse(f"commands: {{who: {{{command}: {{role: admin, users: [ada], teams: [ops]}}}}}}")
    assert rules.config is not None
    for person in (
        Person(login, Role.WRITE),
        Person("cyd", Role.WRITE, teams=frozenset({login, f"ops/{login}"} - {"ops"})),
        Person("cyd", Role.WRITE, behind=(Person(login, Role.WRITE),)),
        Person("cyd", Role.WRITE, is_author=True),
    ):
        assert not may_act(command, person, rules.config).allowed
