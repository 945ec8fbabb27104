from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pathspec import PathSpec
from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from policies.globs import compile_globs, problem_of


@pytest.mark.parametrize(
    ("globs", "path", "matches"),
    [
        (["*.pem"], "a/b/key.pem", True),
        (["*.pem"], "a/b/key.pem.txt", False),
        (["/docs"], "docs/a/b.md", True),
        (["/docs"], "x/docs/b.md", False),
        (["docs/"], "docs", False),
        (["docs/"], "a/docs/b", True),
        (["secrets/**"], "secrets/a/b", True),
        (["a/**/b"], "a/x/y/b", True),
        (["a/**/b"], "a/b", True),
        (["docs/*"], "docs/a/b", True),
        (["docs/*"], "docs", False),
        (["a.c"], "abc", False),
        (["[a-c]x"], "bx", True),
        (["x", "!x/y"], "x/y", False),
        (["x", "!x/y"], "x/z", True),
        (["!x/y", "x"], "x/y", True),
        (["x", "!x", "x/z"], "x/z", True),
        ([], "x", False),
    ],
)
def test_globs_match_as_gitignore_says(globs: list[str], path: str, matches: bool) -> None:
    assert compile_globs(globs).match(path) is matches


def test_case_counts_only_where_asked() -> None:
    assert not compile_globs(["uv.lock"]).match("UV.Lock")
    assert compile_globs(["uv.lock"], ignore_case=True).match("UV.Lock")


@pytest.mark.parametrize(
    ("glob", "said"),
    [
        ("", "needs a name"),
        ("!", "needs a name"),
        (" a", "needs a name"),
        ("a\nb", "needs a name"),
        ("#a", "comment"),
        ("/", "matches nothing"),
        ("a\\", "matches nothing"),
        ("a[", "A set"),
        ("[[:alpha:]]", "A set"),
        ("[z-a]", "matches nothing"),
        ("a*b*c*", "two slashes"),
        ("**/a/**/b/**", "two slashes"),
        ("a" * 201, "200 characters"),
    ],
)
def test_a_glob_that_cannot_be_meant_is_explained(glob: str, said: str) -> None:
    assert said in (problem_of(glob) or "nothing")


SEGMENT = st.text(alphabet="ab.*?[]!-\\", min_size=1, max_size=5) | st.just("**")
GLOB = st.builds(
    lambda bang, root, parts, tail: bang + root + "/".join(parts) + tail,
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "/"]),
    st.lists(SEGMENT, min_size=1, max_size=3),
    st.sampled_from(["", "/"]),
).filter(lambda glob: problem_of(glob) is None)
# Git has no segment of dots alone, and pathspec takes a leading `./` away.
NAME = st.text(alphabet="ab.", min_size=1, max_size=3).filter(lambda name: name.strip("."))
PATH = st.lists(NAME, min_size=1, max_size=4).map("/".join)


@given(st.lists(GLOB, max_size=5), PATH)
def test_the_joined_expression_means_what_pathspec_means(globs: list[str], path: str) -> None:
    spec = PathSpec([GitIgnoreSpecPattern(glob) for glob in globs])
    assert compile_globs(globs).match(path) is spec.match_file(path)


@given(st.lists(GLOB, max_size=5), PATH)
def test_where_case_does_not_count_it_counts_neither_in_globs_nor_in_paths(
    globs: list[str], path: str
) -> None:
    meant = compile_globs(globs).match(path)
    capitals = [glob.upper() for glob in globs]
    assert compile_globs(capitals, ignore_case=True).match(path) is meant
    assert compile_globs(globs, ignore_case=True).match(path.upper()) is meant


@given(st.text(max_size=30))
def test_any_text_is_a_glob_or_explained(text: str) -> None:
    if problem_of(text) is None:
        compile_globs([text], ignore_case=True).match("a/b")


def test_a_hostile_glob_meets_a_hostile_path_in_bounded_time() -> None:
    globs = compile_globs(["**/a/**/a*b*c", "*a*b"])
    started = time.process_time()
    assert not globs.match("a/" * 511 + "a")
    assert not globs.match("a" * 1024)
    assert time.process_time() - started < 1
