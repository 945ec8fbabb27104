"""Bare repositories, kept with the git program.

Every function here blocks; the hub calls them in a thread. Commands run with a clean environment
and a time-out, never read a configuration of the user's or the system's, and take revisions that
were resolved before.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from bot.errors import OperatorError

# No repository of a demonstration or a test needs longer; a hanging git must not hang the hub.
GIT_TIMEOUT = 60.0

ZERO = "0" * 40

# Refusals that GitHub speaks as a hook would. What the App lacks arrives in the environment.
PRE_RECEIVE = """\
#!/bin/sh
while read -r old new ref; do
    case "$ref" in
    "${HUB_REFUSED_REFS:-//}"*)
        echo "refusing to update $ref" >&2
        exit 1 ;;
    esac
    if [ -n "$HUB_ONLY_REFS" ]; then
        case " $HUB_ONLY_REFS " in
        *" $ref "*) ;;
        *)
            echo "refusing to update $ref: only branches of pull requests are open to you" >&2
            exit 1 ;;
        esac
    fi
    case "$new" in *[!0]*) ;; *) continue ;; esac
    if [ -n "$HUB_FORBID_WORKFLOWS" ]; then
        file=$(git log --format= --name-only "$new" --not --all -- .github/workflows | head -n 1)
        if [ -n "$file" ]; then
            echo "refusing to allow a GitHub App to create or update workflow \\`$file\\`" \\
                "without \\`workflows\\` permission" >&2
            exit 1
        fi
    fi
done
"""

# What a bare repository of the hub is set to: refs/pull is GitHub's own, objects may be asked for
# by name as GitHub allows, and nothing is ever packed or pruned behind a test's back.
CONFIGURATION = {
    "http.receivepack": "true",
    "receive.hideRefs": "refs/pull",
    "receive.autogc": "false",
    "gc.auto": "0",
    "uploadpack.allowFilter": "true",
    "uploadpack.allowAnySHA1InWant": "true",
}


class GitFailed(Exception):
    """The git program said no; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Signature:
    """Who and when, as a commit has it."""

    name: str
    email: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit read from a repository."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Signature
    committer: Signature
    message: str


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """An entry of a tree: `mode` in six digits, `kind` blob, tree or commit; `size` of blobs."""

    mode: str
    kind: str
    sha: str
    size: int | None
    path: str


@dataclass(frozen=True, slots=True)
class FileChange:
    """What a difference says of one file; `patch` is None for binary files."""

    status: str
    path: str
    previous: str | None
    sha: str
    additions: int
    deletions: int
    patch: str | None


def clean_environment(**extra: str) -> dict[str, str]:
    """The environment that git is run in: nothing of the user's or the system's configuration."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C.UTF-8",
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "GitHub",
        "GIT_AUTHOR_EMAIL": "noreply@github.com",
        "GIT_COMMITTER_NAME": "GitHub",
        "GIT_COMMITTER_EMAIL": "noreply@github.com",
        **extra,
    }


@dataclass(frozen=True, slots=True)
class Bare:
    """One bare repository in `folder`."""

    folder: Path

    def run(
        self, *arguments: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None
    ) -> bytes:
        """The standard output of one git command; `GitFailed` where it ends in an error."""
        command = ["git", "-c", "core.quotePath=false", "--git-dir", str(self.folder), *arguments]
        try:
            done = subprocess.run(
                command,
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                timeout=GIT_TIMEOUT,
                env=clean_environment(**(env or {})),
                check=False,
            )
        except FileNotFoundError as error:
            raise OperatorError("The hub needs the git program: install git.") from error
        if done.returncode:
            raise GitFailed(done.stderr.decode(errors="replace").strip())
        return done.stdout

    def text(
        self, *arguments: str, stdin: bytes | None = None, env: Mapping[str, str] | None = None
    ) -> str:
        """`run`, as stripped text."""
        return self.run(*arguments, stdin=stdin, env=env).decode(errors="replace").strip()

    # -- making -----------------------------------------------------------------------------

    def create(self, branch: str, *, durable: bool) -> None:
        """Make the repository with `branch` as its default one."""
        self.folder.mkdir(parents=True)
        self.run("init", "--quiet", "--bare", f"--initial-branch={branch}", "--template=")
        settings = {**CONFIGURATION, "core.fsync": "committed" if durable else "none"}
        lines = "".join(_setting(*item) for item in settings.items())
        with (self.folder / "config").open("a") as config:
            config.write(lines)
        hook = self.folder / "hooks" / "pre-receive"
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(PRE_RECEIVE)
        hook.chmod(0o755)

    def import_folder(self, folder: Path, branch: str, message: str, who: Signature) -> str:
        """Commit all files of `folder` as the first commit of `branch`; gives its sha."""
        with tempfile.TemporaryDirectory() as scratch:
            env = {"GIT_INDEX_FILE": f"{scratch}/index"}
            self.run("--work-tree", str(folder), "add", "--all", "--force", ".", env=env)
            tree = self.text("write-tree", env=env)
        sha = self.write_commit(tree, (), message, who, who)
        self.run("update-ref", f"refs/heads/{branch}", sha)
        return sha

    def import_files(
        self, files: Mapping[str, str | bytes], branch: str, message: str, who: Signature
    ) -> str:
        """Commit `files` (path to content) as the first commit of `branch`; gives its sha."""
        entries = [
            ("100644", "blob", self.write_blob(c.encode() if isinstance(c, str) else c), path)
            for path, c in files.items()
        ]
        sha = self.write_commit(self.write_tree(None, entries), (), message, who, who)
        self.run("update-ref", f"refs/heads/{branch}", sha)
        return sha

    def import_repository(self, source: Path, branch: str) -> None:
        """Take over `branch` of the git repository at `source`, as this one's branch."""
        refspec = f"+refs/heads/{branch}:refs/heads/{branch}"
        self.run("fetch", "--quiet", "--no-tags", str(source.absolute()), refspec)

    def import_branches(self, source: Path) -> None:
        """Take over all branches of the git repository at `source`."""
        self.run(
            "fetch", "--quiet", "--no-tags", str(source.absolute()), "+refs/heads/*:refs/heads/*"
        )

    def bring(self, source: Path, sha: str) -> None:
        """Bring in a commit of the git repository at `source`, on no ref."""
        where = str(source.absolute())
        self.run("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", where, sha)

    # -- refs -------------------------------------------------------------------------------

    def resolve(self, revision: str, kind: str = "commit") -> str | None:
        """The sha that a branch, tag, ref or sha names as an object of `kind`, or None."""
        if not revision or revision.startswith("-") or any(c in revision for c in ":^~@{ \n"):
            return None
        for candidate in (f"refs/heads/{revision}", f"refs/tags/{revision}", revision):
            try:
                arguments = ("rev-parse", "--verify", "--quiet", f"{candidate}^{{{kind}}}")
                return self.text(*arguments)
            except GitFailed:
                continue
        return None

    def kind_of(self, sha: str) -> str | None:
        """What kind of object `sha` (in full) names, or None."""
        try:
            return self.text("cat-file", "-t", sha)
        except GitFailed:
            return None

    def refs(self, *patterns: str) -> dict[str, tuple[str, str]]:
        """The refs under `patterns` as name to `(sha, kind)`."""
        out = self.text(
            "for-each-ref", "--format=%(refname) %(objectname) %(objecttype)", *patterns
        )
        rows = (line.split(" ") for line in out.splitlines())
        return {name: (sha, kind) for name, sha, kind in rows}

    def set_ref(self, name: str, new: str, old: str | None = None) -> None:
        """Point `name` at `new`, where it is at `old` (`ZERO`: is not there); else `GitFailed`."""
        self.run("update-ref", name, new, *([] if old is None else [old]))

    def delete_ref(self, name: str) -> None:
        """Take `name` away."""
        self.run("update-ref", "-d", name)

    def valid_ref(self, name: str) -> bool:
        """Whether git allows `name` for a ref."""
        try:
            self.run("check-ref-format", name)
        except GitFailed:
            return False
        return True

    def contains(self, descendant: str, ancestor: str) -> bool:
        """Whether `ancestor` is in the history of `descendant`."""
        try:
            self.run("merge-base", "--is-ancestor", ancestor, descendant)
        except GitFailed:
            return False
        return True

    def merge_base(self, one: str, other: str) -> str | None:
        """The best common ancestor, or None where the histories are unrelated."""
        try:
            return self.text("merge-base", one, other)
        except GitFailed:
            return None

    # -- reading ----------------------------------------------------------------------------

    def commits(self, *revisions: str, skip: int = 0, limit: int | None = None) -> list[Commit]:
        """The commits that `git log` gives for `revisions` (and its options), newest first."""
        form = "--format=%H%n%T%n%P%n%an%n%ae%n%aI%n%cn%n%ce%n%cI%n%B"
        count = [] if limit is None else [f"--max-count={limit}"]
        out = self.run("log", "-z", form, f"--skip={skip}", *count, *revisions)
        return [_commit(r) for r in out.decode(errors="replace").split("\0") if r]

    def commit(self, sha: str) -> Commit:
        """The commit of this sha."""
        return self.commits("--no-walk", sha)[0]

    def count(self, *revisions: str) -> int:
        """How many commits `revisions` select."""
        return int(self.text("rev-list", "--count", *revisions))

    def tree(
        self, revision: str, path: str = "", *, recursive: bool = False, trees: bool = True
    ) -> list[TreeEntry]:
        """The entries of a tree, or of its folder `path` (which ends in a slash, then)."""
        flags = (["-r"] if recursive else []) + (["-t"] if recursive and trees else [])
        place = ["--", path] if path else []
        out = self.run("ls-tree", "-z", "--long", *flags, revision, *place)
        return [_entry(line) for line in out.decode(errors="replace").split("\0") if line]

    def blob(self, sha: str) -> bytes:
        """A blob's bytes."""
        return self.run("cat-file", "blob", sha)

    def changes(self, base: str, head: str) -> list[FileChange]:
        """What differs from tree `base` to tree `head`, renames found, in the order of paths."""
        arguments = ("-r", "-M", "--no-commit-id", base, head)
        listed = self.run("diff-tree", "--raw", "--numstat", "--abbrev=40", "-z", *arguments)
        patch = self.run("diff-tree", "-p", "--full-index", *arguments)
        return _changes(listed.decode(errors="replace"), patch.decode(errors="replace"))

    def patch(self, base: str, head: str) -> str:
        """The whole difference as text."""
        return self.run("diff-tree", "-r", "-M", "-p", base, head).decode(errors="replace")

    def empty_tree(self) -> str:
        """The sha of the empty tree, written where it was missing."""
        return self.text("mktree", stdin=b"")

    # -- writing ----------------------------------------------------------------------------

    def write_blob(self, content: bytes) -> str:
        """Store a blob; gives its sha."""
        return self.text("hash-object", "-w", "--stdin", stdin=content)

    def write_tree(
        self, base: str | None, entries: Sequence[tuple[str, str, str | None, str]]
    ) -> str:
        """The tree `base` with entries `(mode, kind, sha, path)` set; a None sha takes it away."""
        with tempfile.TemporaryDirectory() as scratch:
            env = {"GIT_INDEX_FILE": f"{scratch}/index"}
            self.run("read-tree", *([base] if base else ["--empty"]), env=env)
            lines = [
                f"{'0' if sha is None else mode} {sha or ZERO}\t{path}\0"
                for mode, kind, sha, path in entries
                if kind != "tree"
            ]
            self.run("update-index", "-z", "--index-info", stdin="".join(lines).encode(), env=env)
            for _, kind, sha, path in entries:
                if kind == "tree" and sha:
                    self.run("read-tree", f"--prefix={path}/", sha, env=env)
            return self.text("write-tree", env=env)

    def write_commit(
        self,
        tree: str,
        parents: Sequence[str],
        message: str,
        author: Signature,
        committer: Signature,
    ) -> str:
        """Store a commit; gives its sha."""
        env = {
            "GIT_AUTHOR_NAME": author.name,
            "GIT_AUTHOR_EMAIL": author.email,
            "GIT_AUTHOR_DATE": author.at.isoformat(timespec="seconds"),
            "GIT_COMMITTER_NAME": committer.name,
            "GIT_COMMITTER_EMAIL": committer.email,
            "GIT_COMMITTER_DATE": committer.at.isoformat(timespec="seconds"),
        }
        named = [part for parent in parents for part in ("-p", parent)]
        return self.text("commit-tree", tree, *named, stdin=message.encode(), env=env)

    def merge_trees(self, ours: str, theirs: str) -> str | None:
        """The tree of a clean merge of two commits, or None where they conflict."""
        try:
            return self.text("merge-tree", "--write-tree", "--allow-unrelated-histories",
                             ours, theirs).splitlines()[0]  # fmt: skip
        except GitFailed:
            return None

    def replay(self, onto: str, base: str, head: str, committer: Signature) -> str | None:
        """Commits `base..head` anew on `onto` (a rebase); the new head, or None on a conflict."""
        for commit in reversed(self.commits("--no-merges", "--topo-order", f"{base}..{head}")):
            parent = commit.parents[0]
            # A stand-in for `onto` whose only ancestor is the commit's parent makes that the merge
            # base, which is what a cherry-pick means (merge-tree takes no base before git 2.40).
            tree = self.text("rev-parse", f"{onto}^{{tree}}")
            stand_in = self.write_commit(tree, [parent], "stand-in", committer, committer)
            merged = self.merge_trees(stand_in, commit.sha)
            if merged is None:
                return None
            onto = self.write_commit(merged, [onto], commit.message, commit.author, committer)
        return onto


def _setting(name: str, value: str) -> str:
    section, key = name.split(".")
    return f"[{section}]\n\t{key} = {value}\n"


def _commit(record: str) -> Commit:
    sha, tree, parents, an, ae, ad, cn, ce, cd, message = record.split("\n", 9)
    author = Signature(an, ae, datetime.fromisoformat(ad))
    committer = Signature(cn, ce, datetime.fromisoformat(cd))
    return Commit(sha, tree, tuple(parents.split()), author, committer, message.rstrip("\n"))


def _entry(line: str) -> TreeEntry:
    facts, path = line.split("\t", 1)
    mode, kind, sha, size = facts.split()
    return TreeEntry(mode, kind, sha, None if size == "-" else int(size), path)


STATUSES = {"A": "added", "D": "removed", "M": "modified", "R": "renamed", "C": "copied"}


def _changes(listed: str, patch: str) -> list[FileChange]:
    fields = iter(listed.split("\0")[:-1])
    raw: list[tuple[str, str, str | None, str]] = []
    counts: list[tuple[int, int]] = []
    for head in fields:
        if head.startswith(":"):
            *_, old, new, status = head.split()
            first = next(fields)
            moved = status[0] in "RC"
            path, previous = (next(fields), first) if moved else (first, None)
            raw.append((status[0], path, previous, old if status[0] == "D" else new))
        else:
            plus, minus, path = head.split("\t")
            if not path:  # a rename: both paths follow
                next(fields), next(fields)
            counts.append((_number(plus), _number(minus)))
    patches = iter(_patches(patch))
    out = []
    for (letter, path, previous, sha), (added, removed) in zip(raw, counts, strict=True):
        text = next(patches, None)
        if letter == "T":  # git shows a change of type as a removal and an addition
            text = next(patches, None)
        status = STATUSES.get(letter, "changed")
        out.append(FileChange(status, path, previous, sha, added, removed, text))
    return out


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _patches(patch: str) -> list[str | None]:
    """The hunks of each file of a patch, as GitHub shows them; None for files without any."""
    out = []
    for chunk in ("\n" + patch).split("\ndiff --git ")[1:]:
        start = chunk.find("\n@@ ")
        out.append(chunk[start + 1 :].rstrip("\n") if start >= 0 else None)
    return out
