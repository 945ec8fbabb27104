"""Which paths an agent may change: protected ones refused, others allowed as configured.

A path counts whatever was done to it: added, changed, deleted, renamed to or from, its mode
or kind changed. A symlink or submodule counts for everything below it too, and one that
stands where a protected path would pass through is refused, since it would lead there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

from policies.config import Config
from policies.facts import ANYBODY, MODE_SUBMODULE, MODE_SYMLINK, Author, Change
from policies.globs import Globs, compile_globs, normal
from policies.sections import AgentPaths
from policies.verdict import Verdict, listed

RULE = "paths"

# They decide what runs with the repository's secrets, and who must agree to what. No
# configuration opens them to an agent.
ALWAYS_PROTECTED = (
    ".git",
    "/.github/workflows",
    "/.github/actions",
    "/.github/orchestrate.yml",
    "/.github/orchestrate.yaml",
    "/CODEOWNERS",
    "/.github/CODEOWNERS",
    "/docs/CODEOWNERS",
)

# What tells an agent what to do: one agent must not write the next one's orders.
AGENT_INSTRUCTIONS = (
    "AGENT.md",
    "AGENTS.md",
    "AGENTS.override.md",
    "CLAUDE.md",
    "CLAUDE.local.md",
    "GEMINI.md",
    "QWEN.md",
    "copilot-instructions.md",
    ".mcp.json",
    "opencode.json",
    "opencode.jsonc",
    ".cursorrules",
    ".windsurfrules",
    ".clinerules",
    ".roorules",
    ".goosehints",
    ".aider.conf.yml",
    ".agents",
    ".amazonq",
    ".claude",
    ".codex",
    ".continue",
    ".cursor",
    ".gemini",
    ".junie",
    ".kiro",
    ".opencode",
    ".roo",
    ".windsurf",
)

# Other builders' files, which run with their secrets as soon as they are pushed.
PIPELINES = (
    "/.gitlab-ci.yml",
    "/.travis.yml",
    "/.drone.yml",
    "/.appveyor.yml",
    "/appveyor.yml",
    "/azure-pipelines.yml",
    "/bitbucket-pipelines.yml",
    "/cloudbuild.yaml",
    "/Jenkinsfile",
)

# What changes how git or a package manager reads everything else, on every machine.
TOOL_SETTINGS = (
    ".gitattributes",
    ".gitmodules",
    ".lfsconfig",
    ".envrc",
    ".npmrc",
    ".pnpmfile.cjs",
    ".pypirc",
    ".yarnrc",
    ".yarnrc.yml",
    "pip.conf",
)

# Nobody reads them in a review, and a line in one decides whose code is installed. A
# repository whose runs are to update dependencies opens its own with `!`.
LOCK_FILES = (
    "bun.lock",
    "bun.lockb",
    "Cargo.lock",
    "composer.lock",
    "conda-lock.yml",
    "deno.lock",
    "flake.lock",
    "Gemfile.lock",
    "go.sum",
    "gradle.lockfile",
    "mix.lock",
    "npm-shrinkwrap.json",
    "package-lock.json",
    "Package.resolved",
    "packages.lock.json",
    "pdm.lock",
    "Pipfile.lock",
    "pixi.lock",
    "pnpm-lock.yaml",
    "Podfile.lock",
    "poetry.lock",
    "pubspec.lock",
    "pylock.toml",
    ".terraform.lock.hcl",
    "uv.lock",
    "yarn.lock",
)

# Folders at the top whose name begins with a dot hold settings of tools, not the product.
DOT_FOLDERS = ("/.*/",)

DEFAULT_PROTECTED = DOT_FOLDERS + AGENT_INSTRUCTIONS + PIPELINES + TOOL_SETTINGS + LOCK_FILES

# Longer paths work on few machines, and matching takes time that grows faster than they do.
MAX_LENGTH = 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# What other file systems than ours read as another name: NTFS drops a dot or blank at the end,
# takes a backslash for a slash, what follows a colon for a part of the file, and knows `.git` by a
# short name too; HFS+ drops what has no shape (git's core.protectNTFS and core.protectHFS).
# Sought behind a slash, as an expression whose every way begins with a sign that has no case:
# then most of a path is passed over in C.
_DISGUISED = re.compile(r"\.(?:/|\Z)| (?:/|\Z)|\\|/git~[0-9]|/\.git *:", re.IGNORECASE)
_SHAPELESS = frozenset({"Cf", "Zl", "Zp", "Cs"})
_WILD = re.compile(r"[*?\[\\]")
_BELOW = "below"
_LEADS = frozenset({MODE_SYMLINK, MODE_SUBMODULE})


def check_paths(changes: Iterable[Change], config: Config, by: Author = ANYBODY) -> Verdict:
    """Judge which paths were touched, by the defaults and the section `paths`.

    `by` is the agent that did it, and for which task: both may be held to less than the rest.
    Protected globs match whatever the case of letters, since some file systems do not tell
    them apart; allowed ones match exactly.
    """
    changed = tuple(changes)
    own = config.paths.agents.get(by.agent, AgentPaths())
    touched = sorted({pair for change in changed for pair in _touched(change)})
    paths = [path for path, _ in touched]
    readable = [pair for pair in touched if _readable(pair[0])]
    refusals = (
        _unreadable(paths),
        _disguises(path for path, _ in readable),
        _submodules(sorted({change.path for change in changed if _submodule(change)})),
        _always(readable),
        _protected(readable, config.paths.protected),
        _closed_to(readable, own.protected, by.agent),
        _outside(paths, config.paths.allowed, "what is allowed here", _OPEN_ALL),
        _outside(paths, own.allowed, f"what the agent `{by.agent}` may change", _OPEN_AGENT),
        _outside(paths, by.areas or None, "the areas of this task", _OPEN_TASK),
    )
    reason = " ".join(refusal for refusal in refusals if refusal)
    if reason:
        return Verdict(False, RULE, reason)
    return Verdict(True, RULE, "No protected path was touched.")


_Touched = tuple[str, bool]


def instructions(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the paths that instruct agents, whatever the case of their letters."""
    globs = compile_globs(AGENT_INSTRUCTIONS, ignore_case=True)
    return tuple(sorted(path for path in paths if globs.match(normal(path))))


def _touched(change: Change) -> Iterator[_Touched]:
    """Each path of a change, and whether it leads (or led) somewhere else."""
    yield change.path, change.new_mode in _LEADS or change.old_mode in _LEADS
    if change.old_path is not None:
        yield change.old_path, change.old_mode in _LEADS


def _unreadable(touched: Iterable[str]) -> str:
    paths = [path for path in touched if not _readable(path)]
    if not paths:
        return ""
    return (
        f"These paths are longer than {MAX_LENGTH:,} characters or have control characters:"
        f" {listed(paths)}. Give them names that people can read."
    )


def _disguises(readable: Iterable[str]) -> str:
    paths = [path for path in readable if _disguised(path)]
    if not paths:
        return ""
    return (
        f"Other systems read these paths as others, or people do: {listed(paths)}. Give them names"
        " without backslashes, invisible characters, and dots or blanks at the end."
    )


def _disguised(path: str) -> bool:
    if _DISGUISED.search(f"/{path}"):
        return True
    return not path.isascii() and any(unicodedata.category(c) in _SHAPELESS for c in path)


def _submodule(change: Change) -> bool:
    return change.new_mode == MODE_SUBMODULE


def _submodules(paths: list[str]) -> str:
    if not paths:
        return ""
    return (
        f"Submodules were added or moved: {listed(paths)}. Nobody can see here what that brings"
        " in, so leave them out of the request and change them yourself."
    )


def _always(readable: Iterable[_Touched]) -> str:
    globs = compile_globs(ALWAYS_PROTECTED, ignore_case=True)
    above = _folders_above(ALWAYS_PROTECTED)
    paths = [path for path, leads in readable if _meant(globs, above, path, leads)]
    if not paths:
        return ""
    return (
        f"Only people may change {listed(paths)}, and no configuration opens"
        f" {'it' if len(set(paths)) == 1 else 'them'} to an agent. Leave such paths out of"
        " the request, and change them yourself."
    )


def _protected(readable: Iterable[_Touched], configured: tuple[str, ...]) -> str:
    globs = compile_globs(DEFAULT_PROTECTED + configured, ignore_case=True)
    above = _folders_above(glob for glob in configured if not glob.startswith("!"))
    always = compile_globs(ALWAYS_PROTECTED, ignore_case=True)
    paths = [
        path
        for path, leads in readable
        if _meant(globs, above, path, leads) and not _meant(always, frozenset(), path, leads)
    ]
    if not paths:
        return ""
    return (
        f"Protected paths were touched: {listed(paths)}. Ask for the work without them, or"
        " have a maintainer open them with `!` and the path under `paths: protected:` in"
        " `.github/orchestrate.yml`."
    )


def _closed_to(readable: Iterable[_Touched], protected: tuple[str, ...], agent: str) -> str:
    if not protected:
        return ""
    globs = compile_globs(protected, ignore_case=True)
    above = _folders_above(protected)
    paths = [path for path, leads in readable if _meant(globs, above, path, leads)]
    if not paths:
        return ""
    return (
        f"The agent `{agent}` may not change {listed(paths)}. Ask another agent for that, or have"
        " a maintainer take the glob out of `paths: agents:` in `.github/orchestrate.yml`."
    )


_OPEN_ALL = "have a maintainer add them under `paths: allowed:` in `.github/orchestrate.yml`"
_OPEN_AGENT = (
    "ask another agent, or have a maintainer add them under `paths: agents:` in"
    " `.github/orchestrate.yml`"
)
_OPEN_TASK = "ask for another plan, with a task for them"


def _outside(
    touched: Iterable[str], allowed: tuple[str, ...] | None, of: str, otherwise: str
) -> str:
    if allowed is None:
        return ""
    globs = compile_globs(allowed)
    paths = [path for path in touched if not (_readable(path) and globs.match(normal(path)))]
    if not paths:
        return ""
    return (
        f"These paths are outside of {of}: {listed(paths)}. Ask for the work without them, or"
        f" {otherwise}."
    )


def _readable(path: str) -> bool:
    return len(path) <= MAX_LENGTH and _CONTROL.search(path) is None


def _meant(globs: Globs, above: frozenset[str], path: str, leads: bool) -> bool:
    """Whether protected globs mean a path, or what it leads to."""
    name = normal(path)
    if globs.match(name):
        return True
    return leads and (name.casefold() in above or globs.match(f"{name}/{_BELOW}"))


def _folders_above(globs: Iterable[str]) -> frozenset[str]:
    """The folders that anchored globs pass through: `.github` for `.github/workflows`."""
    return frozenset(
        "/".join(folders[:depth]).casefold()
        for glob in globs
        for folders in [_literal_folders(normal(glob))]
        for depth in range(1, len(folders) + 1)
    )


def _literal_folders(glob: str) -> list[str]:
    """The folders before the last segment or the first wildcard, whichever comes first."""
    folders: list[str] = []
    for segment in glob.strip("/").split("/")[:-1]:
        if _WILD.search(segment):
            break
        folders.append(segment)
    return folders
