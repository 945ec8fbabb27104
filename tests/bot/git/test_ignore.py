"""What is ignored: the same as git itself says, and no pattern that takes long."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bot.git import ignore, wildmatch
from bot.git.ignore import Ignores

from .conftest import ENV, sh

LONG = bool(os.environ.get("ORCHESTRATE_TEST_LONG"))

NAMES = ["a", "b", "ab", "abc", "a b", "a ", " ", "*", "**", "[", "]", "[a]", "\\", "a\\", "-", "!"]
NAMES += ["!a", "#a", "#", "?", "é", "A", "a\r", "a\tb", "\ufeffa", "caf\udce9", "a\nb", "0", "x.y"]
PATHS = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4).map(tuple)
PIECES = ["a", "b", "c", "ab", "*", "*", "**", "**/", "/**", "?", "/", "/", "\\", " ", "\\ ", "\\/"]
PIECES += ["[ab]", "[!a]", "[^b]", "[a-c]", "[", "]", "[]", "[a", "[]a]", "[!]a]", "[a-]", "[c-a]"]
PIECES += ["[[:alpha:]]", "[![:space:]]", "[[:foo:]]", "[[:", "[a\\]b]", "[\\", "[--0]", "[/]", "!"]
PIECES += ["#", "é", "\\*", "\\[", "\\a", "\\\\", "-", "\udce9", "x.y", "0", "\t", "\ufeff"]
PATTERNS = st.lists(st.sampled_from(PIECES), max_size=7).map("".join)
LINES = st.builds(
    lambda negation, pattern, end: negation + pattern + end,
    st.sampled_from(["", "", "", "!", "/", "#", "\\!", "!/"]),
    PATTERNS,
    st.sampled_from(["", "", "", "/", " ", "  ", "\\ ", "\r", " \r", "/ ", "\0", "\0x"]),
)
TEXTS = st.builds(
    lambda start, lines, end: (start + "\n".join(lines) + end).encode("utf-8", "surrogateescape"),
    st.sampled_from(["", "", "", "\ufeff"]),
    st.lists(LINES, min_size=1, max_size=5),
    st.sampled_from(["\n", "", "\r\n"]),
)


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ignore")
    sh(folder, "init", "-q")
    return folder


def clear(repo: Path) -> None:
    for entry in repo.iterdir():
        if entry.name != ".git":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def told_by_git(repo: Path, paths: Iterable[bytes]) -> set[bytes]:
    done = subprocess.run(
        ["git", "-c", "core.excludesFile=/dev/null", "check-ignore", "-z", "--stdin", "--no-index"],
        cwd=repo,
        env=ENV,
        input=b"\0".join(paths),
        capture_output=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    return {path for path in done.stdout.split(b"\0") if path}


def told_by_us(rules: Mapping[bytes, bytes], path: bytes, *, folder: bool) -> bool:
    """Walk down to a path as a scan does, which enters nothing that is ignored."""
    at = Ignores().below(b"", rules.get(b""), tracked=False)
    parts = path.split(b"/")
    for depth in range(1, len(parts)):
        above = b"/".join(parts[:depth])
        if at.ignored(above, folder=True):
            return True
        at = at.below(above, rules.get(above), tracked=False)
    return at.ignored(path, folder=folder)


def lay_out(repo: Path, files: Iterable[tuple[str, ...]]) -> dict[bytes, bool]:
    """Make the files, in an order in which none is in another's way; tell which are folders."""
    made: dict[bytes, bool] = {}
    for parts in sorted(files, key=len, reverse=True):
        place = repo.joinpath(*parts)
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        for depth in range(1, len(parts) + 1):
            made[os.fsencode("/".join(parts[:depth]))] = repo.joinpath(*parts[:depth]).is_dir()
    return made


@settings(
    max_examples=800 if LONG else 100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    files=st.lists(PATHS, min_size=4, max_size=12, unique=True),
    texts=st.lists(TEXTS, min_size=1, max_size=4),
    at=st.lists(st.integers(0, 100), min_size=4, max_size=4),
)
def test_the_same_is_ignored_as_git_ignores(
    files: list[tuple[str, ...]], texts: list[bytes], at: list[int], repo: Path
) -> None:
    clear(repo)
    made = lay_out(repo, files)
    folders = [b"", *(path for path, is_folder in made.items() if is_folder)]
    rules = {folders[n % len(folders)]: text for n, text in zip(at, texts, strict=False)}
    for folder, text in rules.items():
        (repo / os.fsdecode(folder) / ".gitignore").write_bytes(text)
    ours = {path for path, is_folder in made.items() if told_by_us(rules, path, folder=is_folder)}
    assert ours == told_by_git(repo, made), rules


RULES = [
    (b"*.log\n!keep.log\n", b"a.log", True),
    (b"*.log\n!keep.log\n", b"sub/keep.log", False),
    (b"!keep.log\n*.log\n", b"keep.log", True),
    (b"build/\n!build/keep\n", b"build/keep", True),
    (b"build/*\n!build/keep\n", b"build/keep", False),
    (b"/a\n", b"sub/a", False),
    (b"sub/a\n", b"x/sub/a", False),
    (b"**/a/**\n", b"x/a/b/c", True),
    (b"sub/a**/c\n", b"sub/ab/x/c", True),
    (b"sub/a**/c\n", b"sub/ac", True),
    (b"a**/c\n", b"ab/x/c", True),
    (b"*a**/c\n", b"ab/x/c", False),
    (b"**\\/c\n", b"c", False),
    (b"**\\/c\n", b"x/y/c", True),
    (b"a \n", b"a", True),
    (b"a\\ \n", b"a ", True),
    (b"a\r\n", b"a", True),
    (b"a\rb\n", b"a\rb", True),
    (b"a\r\0\n", b"a\r", True),
    (b"\xef\xbb\xbfa\n", b"a", True),
    (b"x\n\xef\xbb\xbfa\n", b"a", False),
    (b"a", b"a", True),
    (b"\\#a\n#b\n", b"#a", True),
    (b"\\#a\n#b\n", b"#b", False),
    (b"[a\n", b"[a", False),
    (b"\\[a\n", b"[a", True),
    (b"a\\\n", b"a\\", False),
    (b"[z-a]\n", b"z", True),
    (b"x[/]y\n", b"x/y", False),
    (b"//\n/\n!\n\n", b"a", False),
]


@pytest.mark.parametrize(("text", "path", "ignored"), RULES)
def test_rules_as_git_reads_them(text: bytes, path: bytes, ignored: bool, repo: Path) -> None:
    clear(repo)
    (repo / ".gitignore").write_bytes(text)
    assert (path in told_by_git(repo, [path])) == ignored
    assert told_by_us({b"": text}, path, folder=False) == ignored


def test_the_nearest_file_decides_and_a_folder_that_is_ignored_is_not_entered() -> None:
    rules = {b"": b"*.log\nout/\n", b"sub": b"!*.log\n", b"out": b"!*\n"}
    assert not told_by_us(rules, b"sub/x.log", folder=False)
    assert told_by_us(rules, b"x.log", folder=False)
    assert told_by_us(rules, b"out/x", folder=False)


def test_what_is_not_tracked_in_an_ignored_folder_with_something_tracked_is_ignored() -> None:
    first = Ignores().below(b"", b"build/\n", tracked=False)
    entered = first.below(b"build", b"!*\n", tracked=True)
    assert entered.ignored(b"build/new", folder=False)
    assert entered.below(b"build/sub", None, tracked=True).ignored(b"build/sub/x", folder=False)
    assert not first.below(b"src", None, tracked=True).ignored(b"src/new", folder=False)


def test_only_so_much_of_a_file_is_read_and_in_whole_lines() -> None:
    many = b"x\n" * wildmatch.MAX_LINES
    assert len(ignore.parse(many)) == wildmatch.MAX_LINES
    assert len(ignore.parse(many + b"y\nz\n")) == wildmatch.MAX_LINES
    cut = b"#" * (wildmatch.MAX_BYTES - 3) + b"\n/build/output\n"
    assert ignore.parse(cut) == ()
