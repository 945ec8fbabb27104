from __future__ import annotations

import asyncio
import errno
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from bot.errors import OperatorError
from bot.git import overlay
from bot.git.overlay import Holder, mount, mounts_below, probe, unmount

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")

ODD = ["plain", "com,ma", "co:lon", "back\\slash", "sp ace\ttab", "new\nline", "n\u00e4me", "#hash"]


class Layers:
    """Two folders below, one above, and where they are seen."""

    def __init__(self, folder: Path) -> None:
        names = ("top", "bottom", "upper", "work", "target")
        self.top, self.bottom, self.upper, self.work, self.target = (
            folder / name for name in names
        )
        for name in names:
            (folder / name).mkdir(parents=True)
        (self.bottom / "both").write_text("bottom")
        (self.bottom / "old").write_text("bottom")
        (self.top / "both").write_text("top")

    @property
    def lowers(self) -> list[Path]:
        return [self.top, self.bottom]


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return Layers(tmp_path)


@pytest.fixture
def can_hold(tmp_path: Path) -> None:
    try:
        probe(tmp_path / "probe", "rootless")
    except OperatorError as error:
        pytest.skip(str(error))


@needs_root
@pytest.mark.parametrize("name", ODD)
def test_a_mount_shows_what_is_below_and_keeps_what_is_changed_above(
    tmp_path: Path, name: str
) -> None:
    layers = Layers(tmp_path / name)
    mount(layers.lowers, layers.upper, layers.work, layers.target)
    try:
        assert mounts_below(tmp_path) == [layers.target]
        assert (layers.target / "both").read_text() == "top"
        (layers.target / "old").unlink()
        (layers.target / "new").write_text("new")
        gone = (layers.upper / "old").lstat()
        assert stat.S_ISCHR(gone.st_mode)
        assert gone.st_rdev == 0
        assert (layers.upper / "new").read_text() == "new"
        assert (layers.bottom / "old").read_text() == "bottom"
    finally:
        assert unmount(layers.target)
    assert not unmount(layers.target)
    assert mounts_below(tmp_path) == []


@needs_root
def test_programs_of_a_mount_gain_no_rights_and_devices_are_none(layers: Layers) -> None:
    mount(layers.lowers, layers.upper, layers.work, layers.target)
    try:
        flags = os.statvfs(layers.target).f_flag
        assert flags & os.ST_NOSUID
        assert flags & os.ST_NODEV
    finally:
        unmount(layers.target)


@needs_root
def test_a_mount_is_taken_away_from_those_who_use_it(layers: Layers) -> None:
    mount(layers.lowers, layers.upper, layers.work, layers.target)
    with (layers.target / "both").open():
        assert unmount(layers.target)
        assert list(layers.target.iterdir()) == []


@needs_root
def test_a_mount_that_is_refused_says_why(layers: Layers, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file") as refused:
        mount([tmp_path / "absent"], layers.upper, layers.work, layers.target)
    assert refused.value.errno == errno.ENOENT


def test_more_options_than_a_mount_takes_are_refused_before(layers: Layers) -> None:
    long = [layers.top.with_name("x" * 200) for _ in range(25)]
    with pytest.raises(OperatorError, match=r"too long.*ORCHESTRATE_DATA_DIR"):
        mount(long, layers.upper, layers.work, layers.target)


@needs_root
def test_mounts_below_a_folder_are_not_those_beside_it(tmp_path: Path) -> None:
    inside, beside = Layers(tmp_path / "runs"), Layers(tmp_path / "runs-2")
    for each in (inside, beside):
        mount(each.lowers, each.upper, each.work, each.target)
    (tmp_path / "link").symlink_to(tmp_path / "runs")
    try:
        assert mounts_below(tmp_path / "runs") == [inside.target]
        assert mounts_below(tmp_path / "link") == [inside.target]
    finally:
        unmount(inside.target)
        unmount(beside.target)


@pytest.mark.usefixtures("can_hold")
async def test_a_holder_has_a_mount_that_only_its_namespace_shows(layers: Layers) -> None:
    holder = await Holder.start(layers.lowers, layers.upper, layers.work, layers.target)
    inside = Path(f"/proc/{holder.pid}/root", *layers.target.parts[1:])
    assert holder.alive
    assert (inside / "both").read_text() == "top"
    (inside / "old").unlink()
    assert (layers.upper / "old").is_char_device()
    assert list(layers.target.iterdir()) == []
    assert mounts_below(layers.target.parent) == []
    await holder.end()
    assert not _is_process(holder.pid)


@pytest.mark.usefixtures("can_hold")
async def test_a_holder_that_ended_by_itself_is_known_and_its_number_is_kept(
    layers: Layers,
) -> None:
    holder = await Holder.start(layers.lowers, layers.upper, layers.work, layers.target)
    os.kill(holder.pid, signal.SIGKILL)
    async with asyncio.timeout(5):
        while holder.alive:  # noqa: ASYNC110 - the kernel's to tell
            await asyncio.sleep(0.01)
    assert _is_process(holder.pid)
    await holder.end()


@pytest.mark.usefixtures("can_hold")
async def test_a_holder_ends_with_the_pipe_that_we_hold(layers: Layers) -> None:
    holder = await Holder.start(layers.lowers, layers.upper, layers.work, layers.target)
    assert holder.process.stdin is not None
    holder.process.stdin.close()
    async with asyncio.timeout(5):
        while holder.alive:  # noqa: ASYNC110 - the kernel's to tell
            await asyncio.sleep(0.01)
    await holder.end()


@pytest.mark.usefixtures("can_hold")
async def test_a_holder_that_cannot_mount_says_why(layers: Layers, tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"cannot be mounted \(.+\): run `orchestrate doctor`"):
        await Holder.start([tmp_path / "absent"], layers.upper, layers.work, layers.target)


@pytest.mark.usefixtures("can_hold")
async def test_a_holder_that_is_not_ready_in_time_is_ended(
    layers: Layers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlay, "_HOLD", "exec sleep 600")
    monkeypatch.setattr(overlay, "HOLDER_SECONDS", 0.2)
    with pytest.raises(OperatorError, match=r"not ready within 0\.2 seconds"):
        await Holder.start(layers.lowers, layers.upper, layers.work, layers.target)


# -- what is to be had


def test_the_best_that_works_is_taken_and_leaves_nothing(tmp_path: Path) -> None:
    means = probe(tmp_path / "runs")
    if os.geteuid() == 0:
        assert means.kind == "overlay"
    assert means.sentence.endswith((" watched.", " quota."))
    assert list((tmp_path / "runs").iterdir()) == []
    assert mounts_below(tmp_path) == []


Break = Callable[[pytest.MonkeyPatch], None]


def no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(overlay, "mount", refused)


@pytest.mark.usefixtures("can_hold")
def test_without_roots_rights_mounts_are_in_a_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_root(monkeypatch)
    means = probe(tmp_path)
    assert means.kind == "rootless"
    assert "as root: Operation not permitted" in means.sentence


def test_where_mounts_are_refused_a_workspace_is_a_copy_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_root(monkeypatch)
    monkeypatch.setattr(overlay, "_TRY", "echo no such luck. >&2; exit 1")
    means = probe(tmp_path)
    assert means.kind == "checkout"
    assert "as root: Operation not permitted; in a user namespace: no such luck)" in means.sentence


def test_a_mount_that_does_not_keep_what_was_changed_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlay, "mount", lambda *_: None)
    monkeypatch.setattr(overlay, "_TRY", "true")
    means = probe(tmp_path)
    assert means.kind == "checkout"
    assert list(tmp_path.iterdir()) == []


@needs_root
def test_on_an_overlay_as_in_a_plain_container_there_is_no_other_and_workspaces_are_copies(
    layers: Layers, tmp_path: Path
) -> None:
    mount(layers.lowers, layers.upper, layers.work, layers.target)
    try:
        means = probe(layers.target / "runs")
        assert means.kind == "checkout"
        assert "as root: Invalid argument" in means.sentence
        with pytest.raises(OperatorError, match="ORCHESTRATE_WORKSPACES=overlay cannot be had"):
            probe(layers.target / "runs", "overlay")
        assert mounts_below(tmp_path) == [layers.target]
    finally:
        unmount(layers.target)


def test_no_job_enters_a_namespace_without_a_sandbox(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_root(monkeypatch)
    means = probe(tmp_path, contained=False)
    assert means.kind == "checkout"
    assert "jobs without a sandbox cannot enter it" in means.sentence


def test_a_program_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OperatorError, match="the program `unshare` is missing"):
        probe(tmp_path, "rootless")


def test_a_kind_that_cannot_be_had_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_root(monkeypatch)
    with pytest.raises(OperatorError, match="ORCHESTRATE_WORKSPACES=overlay cannot be had here"):
        probe(tmp_path, "overlay")


def _is_process(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
