"""What git records where attributes ask for it, and which filters must not be left out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bot.git import filters, scan
from bot.git.filters import Asked, convert
from bot.git.mirror import Mirror
from bot.git.pack import object_id
from bot.git.trees import EXECUTABLE, FILE, Entry
from bot.git.wildmatch import MAX_BYTES

from .conftest import sh

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize 5\n" % (b"ab" * 32)


def recorded(
    mirror: Mirror, content: bytes, attributes: bytes, before: Entry | None = None
) -> bytes | str:
    """Return what git records of a file, or why it cannot."""
    asked = {b"sub/a.key": Asked(content, FILE, before)}
    entries, refused = convert(mirror, {b"": attributes}, asked)
    if refused:
        assert (entries, refused[0].path) == ({}, "sub/a.key")
        return refused[0].reason
    ((path, (mode, oid)),) = entries.items()
    assert (path, mode) == (b"sub/a.key", FILE)
    return sh(mirror.path, "cat-file", "blob", oid.hex()).encode()


@pytest.fixture
def without_git_lfs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "bin"
    place.mkdir()
    (place / "git").symlink_to(str(shutil.which("git")))
    monkeypatch.setenv("PATH", str(place))


HIDING = {
    "git-crypt": b"\0GITCRYPT\0\1\2",
    "git-crypt-team": b"\0GITCRYPT\0\1\2",
    "crypt": b"U2FsdGVkX1+abc=",
    "git-agecrypt": b"age-encryption.org/v1\n-> X",
}


@pytest.mark.parametrize("name", HIDING)
def test_what_a_filter_hides_is_never_recorded_in_the_open(mirror: Mirror, name: str) -> None:
    rule = f"*.key filter={name} diff={name}\n".encode()
    found = recorded(mirror, b"secret\n", rule)
    assert isinstance(found, str)
    assert found.endswith("hides this file, which this server cannot do: leave it alone.")
    assert recorded(mirror, POINTER, rule) == found, "a pointer is no secret of this filter's"
    by_macro = b"[attr]hide filter=%b\nsub/* hide\n" % name.encode()
    assert recorded(mirror, b"secret\n", by_macro) == found


@pytest.mark.parametrize("name", HIDING)
def test_what_is_hidden_already_may_be_moved(mirror: Mirror, name: str) -> None:
    hidden = HIDING[name]
    oid = sh(mirror.path, "hash-object", "-w", "--stdin", input=hidden)
    rule = f"*.key filter={name}\n".encode()
    asked = {b"other.key": Asked(hidden, EXECUTABLE, None)}
    assert convert(mirror, {b"": rule}, asked) == (
        {b"other.key": (EXECUTABLE, bytes.fromhex(oid))},
        [],
    )


def test_a_file_that_was_in_the_open_before_may_stay(mirror: Mirror) -> None:
    oid = sh(mirror.path, "hash-object", "-w", "--stdin", input=b"open\n")
    before = (FILE, bytes.fromhex(oid))
    assert recorded(mirror, b"open\n", b"* filter=git-crypt\n", before) == b"open"
    found = recorded(mirror, b"more\n", b"* filter=git-crypt\n", before)
    assert isinstance(found, str)


def test_no_filter_no_refusal(mirror: Mirror) -> None:
    for rule in (b"* text\n", b"* filter\n", b"* -filter\n", b"* filter=x\n* !filter\n"):
        assert recorded(mirror, b"secret\n", rule) == b"secret"


def test_a_filter_that_nobody_knows_leaves_the_content(mirror: Mirror, tmp_path: Path) -> None:
    """As in any clone in which it was not set up; what a workspace says of it is not read."""
    rule = b"* filter=mine\n"
    assert recorded(mirror, b"content\n", rule) == b"content"
    trap = tmp_path / "trap"
    said = f'[filter "mine"]\n\tclean = touch {trap}; cat\n\trequired = true\n'.encode()
    names = (b".gitconfig", b"config", b".lfsconfig", b"sub/.gitconfig")
    asked = {name: Asked(said, FILE, None) for name in names}
    entries, refused = convert(mirror, {b"": rule}, asked)
    assert {oid for _, oid in entries.values()} == {object_id("blob", said)}
    assert not refused
    assert not trap.exists()


def test_without_git_lfs_its_files_cannot_be_changed(mirror: Mirror, without_git_lfs: None) -> None:
    rule = b"* filter=lfs\n"
    for content in (b"content\n", POINTER + b"x" * 2000, POINTER[:-2] + b"many\n"):
        found = recorded(mirror, content, rule)
        assert isinstance(found, str)
        assert "needs git-lfs on this server" in found
    assert recorded(mirror, POINTER, rule) == POINTER.strip()
    assert recorded(mirror, b"", rule) == b"", "git-lfs keeps no empty files"
    same = (FILE, bytes.fromhex(sh(mirror.path, "hash-object", "-w", "--stdin", input=b"raw\n")))
    assert recorded(mirror, b"raw\n", rule, same) == b"raw"


def test_one_that_is_refused_holds_up_no_other(mirror: Mirror) -> None:
    rules = b"*.key filter=git-crypt\n*.u working-tree-encoding=UTF-16LE\n"
    contents = {b"a.key": b"secret", b"bad.u": b"\x00\xd8x", b"good.u": "hé".encode("utf-16le")}
    asked = {path: Asked(content, FILE, None) for path, content in contents.items()}
    entries, refused = convert(mirror, {b"": rules}, asked)
    assert entries == {b"good.u": (FILE, object_id("blob", "hé".encode()))}
    assert sorted(each.path for each in refused) == ["a.key", "bad.u"]


def test_what_a_filter_left_too_large_is_refused(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filters, "MAX_FILE", 1000)
    large = b"x" * 1001
    assert recorded(mirror, large, b"* filter=mine\n") == scan.TOO_LARGE
    oid = sh(mirror.path, "hash-object", "-w", "--stdin", input=large)
    assert recorded(mirror, large, b"* filter=mine\n", (FILE, bytes.fromhex(oid))) == large


def test_attributes_that_are_not_read_whole_let_nothing_change_below(mirror: Mirror) -> None:
    long = b"#" * MAX_BYTES
    asked = {name: Asked(b"x", FILE, None) for name in (b"a", b"sub/a", b"subway")}
    entries, refused = convert(mirror, {b"": b"", b"sub": long}, asked)
    assert entries.keys() == {b"a", b"subway"}
    assert [each.path for each in refused] == ["sub/a"]
    assert "1 MiB" in refused[0].reason
    assert convert(mirror, {b"": long}, asked)[0] == {}


def test_nothing_stays_in_the_temporary_folder(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = sorted(tmp_path.iterdir())
    recorded(mirror, b"x\r\n", b"* text\n")
    assert sorted(tmp_path.iterdir()) == before
