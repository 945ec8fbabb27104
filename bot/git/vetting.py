"""Files that git itself reads, before they are committed: what git's own check refuses of them.

A `.gitmodules` or `.gitattributes` can be made to harm who clones it, or a program that reads it; a
server that looks (`receive.fsckObjects`, as GitHub has it) takes no push with one. So git looks at
them here, by the names that they have, in a repository of their own with nothing else in it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from bot.errors import Refused

from .pack import Pack
from .program import Finished, run_now, text
from .repository import Mirror
from .trees import FILE, serialise

ATTRIBUTE_LINE = 2048
"""Bytes of a line of `.gitattributes` that git reads (ATTR_MAX_LINE_LENGTH in its attr.h)."""

_FAULT = re.compile(r"^error in (?:blob|tree) ([0-9a-f]{40}): (\w+): ?(.*)$", re.M)
_SUBMODULE = "It gives a submodule {}, which git refuses as unsafe: {}."
_TOLD = {
    "gitmodulesUrl": _SUBMODULE.format(
        "a URL that begins with `-`, names no host or breaks a line", "write a plain URL"
    ),
    "gitmodulesPath": _SUBMODULE.format("a path that begins with `-`", "name another folder"),
    "gitmodulesName": _SUBMODULE.format("a name that leads elsewhere by `..`", "take that out"),
    "gitmodulesUpdate": _SUBMODULE.format("a command to run", "take the line `update = !…` out"),
    "gitattributesLineLength": f"It has a line of more than {ATTRIBUTE_LINE} bytes, which git does "
    "not read: make it shorter.",
    "gitattributesLarge": "It is larger than git reads: make it smaller.",
}


def faults(contents: Mapping[bytes, bytes]) -> dict[bytes, str]:
    """Say what git refuses of files that it reads, as sentences for people, by their paths."""
    with tempfile.TemporaryDirectory(prefix="orchestrate-") as made:
        place = Path(made)
        paths = _lay_out(place, contents)
        asked = ("fsck", "--strict", "--no-dangling", "--no-progress")
        done = run_now(*asked, git_dir=place, work_tree=place, index=place / "index")
    told: dict[str, str] = {}
    for oid, fault, words in _FAULT.findall(done.err + "\n" + text(done.out)):
        told.setdefault(oid, _TOLD.get(fault) or f"Git refuses this file: {words.rstrip('.')}.")
    if done.status and not told:
        raise Refused(f"Git cannot look at {', '.join(map(text, paths))}: {_last(done)}")
    return {path: told[oid] for path, ids in paths.items() for oid in ids if oid in told}


def _lay_out(place: Path, contents: Mapping[bytes, bytes]) -> dict[bytes, tuple[str, str]]:
    """Make a repository of the files, each in a tree of its own; return the ids of both by path."""
    (place / "objects" / "pack").mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "HEAD").write_text("ref: refs/heads/main\n")
    pack, paths = Pack(Mirror(place)), {}
    for path, content in contents.items():
        blob = pack.add("blob", content)
        tree = pack.add("tree", serialise({path.rpartition(b"/")[2]: (FILE, blob)}))
        paths[path] = (blob.hex(), tree.hex())
    pack.write()
    return paths


def _last(done: Finished) -> str:
    lines = done.err.strip().splitlines()
    return lines[-1] if lines else f"exit {done.status}"
