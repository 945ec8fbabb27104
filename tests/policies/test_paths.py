from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.config import Config
from policies.facts import Author, Change
from policies.paths import check_paths, instructions
from policies.sections import AgentPaths, Paths
from tests.policies.builders import change, config

SYMLINK = 0o120000
SUBMODULE = 0o160000


@pytest.mark.parametrize(
    "path",
    [
        ".github/workflows/ci.yml",
        ".GitHub/Workflows/ci.yml",
        ".github/actions/build/action.yml",
        ".github/orchestrate.yml",
        "CODEOWNERS",
        ".github/CODEOWNERS",
        "docs/codeowners",
        "vendor/.git/config",
        ".github/ISSUE_TEMPLATE/bug.md",
        ".circleci/config.yml",
        ".gitlab-ci.yml",
        "AGENTS.md",
        "packages/web/agents.md",
        "CLAUDE.md",
        ".claude/settings.json",
        "packages/a/.cursor/rules/x.mdc",
        ".mcp.json",
        ".gitmodules",
        "sub/.gitattributes",
        ".npmrc",
        "uv.lock",
        "web/package-lock.json",
        "web/node_modules/x/yarn.lock",
    ],
)
def test_paths_protected_by_default_are_refused(path: str) -> None:
    verdict = check_paths([change("src/a.py"), change(path)], Config())
    assert not verdict.allowed
    assert f"`{path}`" in verdict.reason
    assert "src/a.py" not in verdict.reason


@pytest.mark.parametrize(
    "path",
    [
        "src/widgets/core.py",
        "README.md",
        "docs/agents.rst",
        "pyproject.toml",
        "package.json",
        "Makefile",
        ".gitignore",
        ".pre-commit-config.yaml",
        "src/.hidden/data.txt",
        "tests/github/workflows/x.py",
        "src/uv.lock.py",
        "src/codeowners.py",
        "lib/CODEOWNERS",
    ],
)
def test_ordinary_paths_may_be_changed(path: str) -> None:
    assert check_paths([change(path)], Config()).allowed


@pytest.mark.parametrize(
    "touched",
    [
        change("uv.lock", status="added", old_mode=0),
        change("uv.lock", status="deleted", new_mode=0),
        change("uv.lock", status="mode", new_mode=0o100755),
        change("uv.lock", status="typechange", new_mode=SYMLINK),
        change("uv.lock", old_path="a.txt", status="renamed"),
        change("a.txt", old_path="uv.lock", status="renamed"),
    ],
)
def test_a_protected_path_counts_whatever_was_done_to_it(touched: Change) -> None:
    verdict = check_paths([touched], Config())
    assert not verdict.allowed
    assert "uv.lock" in verdict.reason


@pytest.mark.parametrize(
    ("path", "extra"),
    [
        (".github", ""),
        (".github/workflows", ""),
        (".claude", ""),
        (".circleci", ""),
        ("Docs", ""),
        ("secrets", "paths: {protected: ['secrets/**']}"),
        ("a", "paths: {protected: ['/a/b/*.key']}"),
        ("a/b", "paths: {protected: ['/a/b/*.key']}"),
        ("x/keys", "paths: {protected: ['keys/']}"),
    ],
)
def test_a_symlink_on_the_way_to_a_protected_path_is_refused(path: str, extra: str) -> None:
    link = change(path, status="added", old_mode=0, new_mode=SYMLINK)
    assert not check_paths([link], config(extra)).allowed


def test_a_symlink_elsewhere_may_be_made() -> None:
    link = change("src/latest", status="added", old_mode=0, new_mode=SYMLINK)
    assert check_paths([link], config("paths: {protected: ['/a/b/*.key']}")).allowed


def test_a_submodule_is_refused_even_where_everything_is_open() -> None:
    moved = change("vendor/x", old_mode=SUBMODULE, new_mode=SUBMODULE)
    verdict = check_paths([moved], config("paths: {protected: ['!**']}"))
    assert not verdict.allowed
    assert "Submodules" in verdict.reason


def test_a_default_is_opened_with_an_exclamation_mark() -> None:
    opened = config("paths: {protected: ['!/uv.lock']}")
    assert check_paths([change("uv.lock")], opened).allowed
    assert not check_paths([change("tools/uv.lock")], opened).allowed


@pytest.mark.parametrize("path", [".github/workflows/ci.yml", "CODEOWNERS", "a/.git/hooks/x"])
def test_nothing_opens_what_only_people_may_change(path: str) -> None:
    verdict = check_paths([change(path)], config("paths: {protected: ['!**']}"))
    assert not verdict.allowed
    assert "Only people" in verdict.reason


def test_protected_wins_over_allowed() -> None:
    both = config("paths: {protected: ['src/secret/**'], allowed: ['src/**']}")
    assert check_paths([change("src/a.py")], both).allowed
    assert not check_paths([change("src/secret/a.py")], both).allowed


@pytest.mark.parametrize(
    "outside",
    [
        change("README.md"),
        change("SRC/a.py"),
        change("src/a.py", old_path="lib/a.py", status="renamed"),
        change("lib/a.py", old_path="src/a.py", status="renamed"),
    ],
)
def test_what_is_not_allowed_is_refused_at_either_end(outside: Change) -> None:
    verdict = check_paths([outside], config("paths: {allowed: ['src/**']}"))
    assert not verdict.allowed
    assert "`paths: allowed:`" in verdict.reason


AGENTS = """
paths:
  allowed: [src/, docs/]
  agents:
    writer: {allowed: [docs/], protected: [docs/law/]}
"""


@pytest.mark.parametrize(
    ("agent", "path", "said"),
    [
        ("writer", "docs/a.md", ""),
        ("writer", "src/a.py", "outside of what the agent `writer` may change: `src/a.py`"),
        ("writer", "docs/law/a.md", "The agent `writer` may not change `docs/law/a.md`"),
        ("writer", "DOCS/LAW/a.md", "The agent `writer` may not change `DOCS/LAW/a.md`"),
        ("writer", "lib/a.py", "outside of what is allowed here: `lib/a.py`"),
        ("other", "src/a.py", ""),
        ("other", "docs/law/a.md", ""),
        ("other", "lib/a.py", "outside of what is allowed here: `lib/a.py`"),
    ],
)
def test_one_agent_may_be_held_to_less(agent: str, path: str, said: str) -> None:
    verdict = check_paths([change(path)], config(AGENTS), Author(agent))
    assert verdict.allowed is (not said)
    assert said in verdict.reason


@pytest.mark.parametrize(("path", "allowed"), [("src/api/a.py", True), ("src/web/a.py", False)])
def test_a_task_keeps_to_its_areas(path: str, allowed: bool) -> None:
    verdict = check_paths([change(path)], Config(), Author("x", ("src/api/**",)))
    assert verdict.allowed is allowed
    if not allowed:
        assert "outside of the areas of this task: `src/web/a.py`" in verdict.reason


@pytest.mark.parametrize("path", ["a\nb", "a\x1b[31m", "a" * 1025])
def test_paths_that_people_cannot_read_are_refused(path: str) -> None:
    verdict = check_paths([change(path)], Config())
    assert not verdict.allowed
    assert "\n" not in verdict.reason
    assert "\x1b" not in verdict.reason


def test_one_spelling_of_a_letter_is_as_good_as_the_other() -> None:
    composed, decomposed = "caf\u00e9/x", "cafe\u0301/x"
    for glob, path in [(composed, decomposed), (decomposed, composed)]:
        guarded = Config(paths=Paths(protected=(glob,)))
        assert not check_paths([change(path)], guarded).allowed


def test_a_refusal_names_ten_paths_and_counts_the_rest() -> None:
    verdict = check_paths([change(f"d{number}/uv.lock") for number in range(25)], Config())
    assert verdict.reason.count("/uv.lock`") == 10
    assert "and 15 more" in verdict.reason


NAMES = st.sampled_from(
    ["src", "a.py", "uv.lock", ".github", "workflows", "AGENTS.md", "docs", "CODEOWNERS", "é", "x"]
)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
MODES = st.sampled_from([0, 0o100644, 0o100755, SYMLINK, SUBMODULE])
CHANGES = st.lists(
    st.builds(
        lambda path, old, before, after: change(
            path, old_path=old, old_mode=before, new_mode=after
        ),
        PATHS,
        st.none() | PATHS,
        MODES,
        MODES,
    ),
    max_size=12,
)
GLOBS = st.sampled_from(["src/", "*.py", "/docs/**", "x", "src/*", "**/a.py", "/src/x/é", "/x/y"])
CONFIGS = st.builds(
    lambda protected, allowed: Config(
        paths=Paths(protected=tuple(protected), allowed=tuple(allowed) or None)
    ),
    st.lists(GLOBS | GLOBS.map(lambda glob: "!" + glob), max_size=4),
    st.lists(GLOBS, max_size=3),
)


@given(CHANGES, CONFIGS, st.randoms())
def test_the_order_of_changes_never_matters(
    changes: list[Change], rules: Config, chance: random.Random
) -> None:
    shuffled = list(changes)
    chance.shuffle(shuffled)
    assert check_paths(changes, rules) == check_paths(shuffled, rules)


@given(CHANGES, CONFIGS, GLOBS, st.integers(0, 4))
def test_one_more_protected_glob_never_allows_more(
    changes: list[Change], rules: Config, glob: str, place: int
) -> None:
    old = rules.paths.protected
    more = Config(
        paths=Paths(protected=(*old[:place], glob, *old[place:]), allowed=rules.paths.allowed)
    )
    assert check_paths(changes, rules).allowed or not check_paths(changes, more).allowed


@given(CHANGES, CONFIGS, st.lists(GLOBS, max_size=2), st.lists(GLOBS, max_size=2))
def test_a_rule_for_one_agent_or_task_never_allows_more(
    changes: list[Change], rules: Config, globs: list[str], areas: list[str]
) -> None:
    own = AgentPaths(protected=tuple(globs), allowed=tuple(areas) or None)
    held = rules.paths.model_copy(update={"agents": {"a": own}})
    anybody = check_paths(changes, rules).allowed
    by_agent = check_paths(changes, Config(paths=held), Author("a")).allowed
    in_task = check_paths(changes, Config(paths=held), Author("a", tuple(globs))).allowed
    assert anybody >= by_agent >= in_task


@given(CHANGES, CONFIGS)
def test_a_change_refused_alone_is_refused_in_company(changes: list[Change], rules: Config) -> None:
    alone = all(check_paths([each], rules).allowed for each in changes)
    assert check_paths(changes, rules).allowed is alone


def test_of_ten_thousand_changes_the_one_that_may_not_be_is_named() -> None:
    changes = [
        change(f"packages/p{number % 90}/src/module_{number}/parts/Thing{number}.test.tsx")
        for number in range(10_000)
    ]
    rules = config("paths: {protected: ['Thing7777.*', '*.pem'], allowed: ['packages/**']}")
    verdict = check_paths(changes, rules)
    assert not verdict.allowed
    assert changes[7777].path in verdict.reason
    assert changes[7776].path not in verdict.text()
    assert check_paths([*changes[:7777], *changes[7778:]], rules).allowed


def test_what_instructs_agents_is_known_by_its_name() -> None:
    paths = ["src/a.py", "CLAUDE.md", "docs/agents.md", ".claude/rules/x.md", "README.md"]
    paths += [".github/copilot-instructions.md"]
    assert instructions(paths) == (
        ".claude/rules/x.md",
        ".github/copilot-instructions.md",
        "CLAUDE.md",
        "docs/agents.md",
    )
