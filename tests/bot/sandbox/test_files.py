from __future__ import annotations

import os
from pathlib import Path

import pytest

from bot.sandbox.files import read_inside, seen, write_new


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "file").write_bytes(b"data")
    (tmp_path / "secret").write_bytes(b"hidden")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "linked").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    return root


def test_a_plain_file_is_read(root: Path) -> None:
    assert read_inside(root, "folder/file", 4) == b"data"


@pytest.mark.parametrize(
    "path",
    [
        "link",
        "linked/secret",
        "pipe",
        "folder",
        "absent",
        "../secret",
        "folder/../file",
        "",
        "a\0b",
    ],
)
def test_traps_are_not_read(root: Path, path: str) -> None:
    assert read_inside(root, path, 100) is None


def test_absolute_paths_are_not_read(root: Path) -> None:
    assert read_inside(root, str(root / "folder" / "file"), 100) is None


def test_a_file_that_is_too_large_is_not_read(root: Path) -> None:
    assert read_inside(root, "folder/file", 3) is None


def test_a_new_file_is_private_and_never_written_through_a_link(root: Path, tmp_path: Path) -> None:
    write_new(root / "new", b"mine")
    assert (root / "new").stat().st_mode & 0o777 == 0o600
    for path in (root / "link", root / "new"):
        with pytest.raises(FileExistsError):
            write_new(path, b"theirs")
    assert (tmp_path / "secret").read_bytes() == b"hidden"


def test_the_host_sees_a_folder_of_a_namespace_through_its_process(tmp_path: Path) -> None:
    assert seen(tmp_path, None) == tmp_path
    ours = seen(tmp_path, os.getpid())
    assert ours == Path(f"/proc/{os.getpid()}/root{tmp_path}")
    (tmp_path / "file").write_bytes(b"x")
    assert read_inside(ours, "file", 10) == b"x"
