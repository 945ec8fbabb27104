"""Which files git is asked about: all that it would record otherwise, and not many more."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.git import attributes, wildmatch
from bot.git.attributes import Attributes, may_convert

from .conftest import ENV, sh
from .test_ignore import PATHS, PATTERNS

LINE_MAX = 2048
LONG = bool(os.environ.get("ORCHESTRATE_TEST_LONG"))

TELLING = (b"text", b"crlf", b"eol", b"ident", b"filter", b"working-tree-encoding")
FOLDERS = [b"", b"a", b"b", b"a/b", b"ab/a", b"[a]"]
WORDS = ["text", "-text", "!text", "text=auto", "eol=lf", "eol=crlf", "crlf", "crlf=input", "ident"]
WORDS += ["filter=lfs", "filter", "-filter", "working-tree-encoding=UTF-16", "m"]
WORDS += ["diff", "binary", "n", "-m", "m=1", "text\0", "no/name", "-", "=", "eol=", "m", "n"]
STATES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
LINES = st.builds(
    lambda start, pattern, blank, states, end: start + pattern + blank + states + end,
    st.sampled_from(["", "", "", "\t ", "!", "#"]),
    st.one_of(
        PATTERNS,
        PATTERNS.map(lambda each: f'"{each}"'),
        st.sampled_from(["*", "[attr]m", "[attr]n", "[attr]", '"[attr]m"', "a/**", "**/b", "a*"]),
    ),
    st.sampled_from([" ", " ", "\t", " \r ", "\x0b", "\x0c"]),
    STATES,
    st.sampled_from(["", "", " ", "\r", "\0", " \0text", " " * 2100]),
)
TEXTS = st.builds(
    lambda start, lines, end: (start + "\n".join(lines) + end).encode("utf-8", "surrogateescape"),
    st.sampled_from(["", "", "\ufeff"]),
    st.lists(LINES, min_size=1, max_size=6),
    st.sampled_from(["\n", ""]),
)


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("attributes")
    sh(folder, "init", "-q")
    return folder


def check_attr(repo: Path, paths: Iterable[bytes], *names: bytes) -> list[tuple[bytes, ...]]:
    """Ask git; return a path, a name and a value each."""
    done = subprocess.run(
        ["git", "-c", "core.attributesFile=/dev/null", "check-attr", "-z", "--stdin", *names],
        cwd=repo,
        env=ENV | {"GIT_ATTR_NOSYSTEM": "1"},
        input=b"\0".join(paths),
        capture_output=True,
        check=True,
    )
    fields = done.stdout.split(b"\0")
    return list(zip(fields[0::3], fields[1::3], fields[2::3], strict=False))


def has_long_line(texts: Mapping[bytes, bytes]) -> bool:
    """Whether git passes over a line for its length, as it does since version 2.38.3 (attr.h)."""
    return any(len(line) >= LINE_MAX for text in texts.values() for line in text.split(b"\n"))


def may_set(texts: Mapping[bytes, bytes], path: bytes) -> frozenset[bytes]:
    """Walk down to a path as a scan does."""
    at = Attributes().below(b"", texts.get(b""))
    parts = path.split(b"/")
    for depth in range(1, len(parts)):
        above = b"/".join(parts[:depth])
        at = at.below(above, texts.get(above))
    return at.may_set(path)


@settings(
    max_examples=400 if LONG else 100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    texts=st.dictionaries(st.sampled_from(FOLDERS), TEXTS, min_size=1, max_size=4),
    paths=st.lists(PATHS, min_size=5, max_size=15, unique=True),
)
def test_what_git_sets_may_be_set(
    texts: dict[bytes, bytes], paths: list[tuple[str, ...]], repo: Path
) -> None:
    for folder in FOLDERS:
        place = repo / os.fsdecode(folder)
        place.mkdir(parents=True, exist_ok=True)
        (place / ".gitattributes").write_bytes(texts.get(folder, b""))
    asked = [os.fsencode("/".join(parts)) for parts in paths]
    for path, name, value in check_attr(repo, asked, *TELLING):
        sets = may_set(texts, path)
        if name == b"text" and attributes.AUTO in sets and b"text" not in sets:
            # Then git looks at the content first, or leaves it alone.
            assert value in (b"auto", b"unset") or has_long_line(texts), (path, texts)
        elif value not in (b"unspecified", b"unset"):
            assert name in sets, (path, name, texts)


@settings(
    max_examples=150 if LONG else 40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    patterns=st.lists(PATTERNS.filter(bool), min_size=20, max_size=60),
    paths=st.lists(PATHS, min_size=10, max_size=30, unique=True),
)
def test_a_pattern_matches_what_it_matches_for_git(
    patterns: list[str], paths: list[tuple[str, ...]], repo: Path
) -> None:
    """Each pattern sets an attribute of its own; what ends in a slash matches folders alone."""
    kept = [each for each in patterns if not each.startswith(("!", "[attr]"))]
    kept = [each for each in kept if not each.endswith("/")]
    for folder in FOLDERS:
        (repo / os.fsdecode(folder) / ".gitattributes").unlink(missing_ok=True)
    quoted = (each.replace("\\", "\\\\").replace('"', '\\"') for each in kept)
    lines = [f'"{each}" n{number}\n' for number, each in enumerate(quoted)]
    (repo / ".gitattributes").write_bytes(os.fsencode("".join(lines)))
    asked = [os.fsencode("/".join(parts)) for parts in paths]
    told = {(path, name) for path, name, _ in check_attr(repo, asked, b"--all")}
    for number, each in enumerate(map(os.fsencode, kept)):
        by_name = b"/" not in each
        compiled = wildmatch.compile_name if by_name else wildmatch.compile_path
        matches = compiled(each if by_name else each.removeprefix(b"/"))
        for path in asked:
            ours = matches(path.rpartition(b"/")[2] if by_name else path)
            assert ours == ((path, b"n%d" % number) in told), (each, path)


CLASSES = ["alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space"]
CLASSES += ["upper", "xdigit"]


def test_classes_hold_the_bytes_that_git_has_in_them(repo: Path) -> None:
    for folder in FOLDERS:
        (repo / os.fsdecode(folder) / ".gitattributes").unlink(missing_ok=True)
    lines = [f"/x[[:{name}:]] {name}\n" for name in CLASSES]
    (repo / ".gitattributes").write_text("".join(lines))
    paths = [b"x" + bytes([byte]) for byte in range(1, 256) if byte != ord("/")]
    told = {(path, name) for path, name, _ in check_attr(repo, paths, b"--all")}
    for name in CLASSES:
        matches = wildmatch.compile_path(f"x[[:{name}:]]".encode())
        theirs = {path for path in paths if (path, name.encode()) in told}
        assert {path for path in paths if matches(path)} == theirs, name


NASTY = [
    b"a*" * 500 + b"c",
    b"*a" * 500 + b"c",
    b"*" * 1000 + b"c",
    b"*?" * 500 + b"c",
    b"*[!b]" * 200 + b"c",
    b"*" + b"a" * 900 + b"c*",
    b"**/" * 340 + b"c",
    b"**/a/" * 200 + b"c",
    b"**/*a*/" * 140 + b"c",
    b"**/*/" * 200 + b"c",
    b"a/**/" * 170 + b"c",
    b"**\\/a/" * 140 + b"c",
    (b"**/" + b"*a*a*a*a/" * 36) * 3 + b"c",
    (b"**/" + b"a/" * 160) * 3 + b"c",
    b"**/" + b"*a" * 400 + b"/c",
    b"**/*" + b"a" * 900 + b"c/**/d",
]
LONG_PATHS = [b"a" * 4000, b"a/" * 2000 + b"a", (b"a" * 199 + b"/") * 20 + b"a", b"ab/" * 1333]


@pytest.mark.parametrize("pattern", NASTY, ids=lambda each: repr(each[:12]))
def test_no_pattern_takes_long(pattern: bytes) -> None:
    assert len(pattern) <= wildmatch.MAX_PATTERN
    began = time.process_time()
    for compiled in (wildmatch.compile_name, wildmatch.compile_path):
        assert not any(compiled(pattern)(path) for path in LONG_PATHS)
    assert time.process_time() - began < 1.0


def test_a_longer_pattern_matches_no_name_that_is_ignored_and_all_that_may_be_converted() -> None:
    longer = b"*" * 1000 + b"[a]" * 20
    assert not wildmatch.compile_name(longer)(b"a" * 20)
    assert may_set({b"": longer + b" text\n"}, b"x") == {b"text"}
    assert wildmatch.compile_path(b"a/" * 600 + b"b")(b"a/" * 600 + b"b"), "this is no pattern"


def test_what_is_not_read_may_set_anything() -> None:
    many = b"# text\n" * wildmatch.MAX_LINES
    assert may_set({b"": many + b"y text\n"}, b"other") == frozenset({*TELLING, attributes.AUTO})
    assert may_set({b"": many[:-7] + b"y text\n"}, b"other") == frozenset()
    large = b"# text\n" + b"#" * wildmatch.MAX_BYTES
    assert may_set({b"": large}, b"other") == frozenset({*TELLING, attributes.AUTO})
    assert may_set({b"": large[: wildmatch.MAX_BYTES - 1]}, b"other") == frozenset()


CONVERTED = [
    ("", b"a\r\n$Id$", False),
    ("diff", b"a\r\n", False),
    ("text", b"a\n\r", False),
    ("text", b"a\r\n", True),
    ("text=auto", b"a\r\n", True),
    ("text=auto", b"a\r\n\0", False),
    ("text=auto eol=lf", b"a\r\n\0", False),
    ("text", b"a\r\n\0", True),
    ("text=auto\n* text", b"a\r\n\0", True),
    ("text=auto eol=lf\n* !text", b"a\r\n\0", True),
    ("eol=lf", b"a\r\n", True),
    ("crlf", b"a\r\n", True),
    ("ident", b"a\r\n", False),
    ("ident", b"$Id: 1 $", True),
    ("filter=lfs", b"", True),
    ("filter=unset", b"", True),
    ("working-tree-encoding=UTF-16", b"", True),
    ("-text -ident -filter !eol", b"a\r\n$Id$", False),
]


@pytest.mark.parametrize(("words", "content", "asked"), CONVERTED)
def test_git_is_asked_only_where_the_content_may_change(
    words: str, content: bytes, asked: bool
) -> None:
    sets = may_set({b"": f"* {words}\n".encode()}, b"a/b")
    assert may_convert(sets, content) == asked


def test_a_macro_holds_in_all_folders_and_is_defined_in_the_first_alone() -> None:
    first = b"[attr]outer inner\n[attr]inner ident\n[attr]inner text\n"
    used = {b"": first, b"sub": b"*.c outer\n"}
    assert may_set(used, b"sub/a.c") == {b"ident", b"text"}
    assert may_set(used, b"sub/a.h") == frozenset()
    assert may_set({b"sub": first + b"*.c outer\n"}, b"sub/a.c") == frozenset()
    assert may_set({b"": b"[attr]loop pool\n[attr]pool loop text\n* loop\n"}, b"a") == {b"text"}
