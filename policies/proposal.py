"""A configuration proposed for a repository that has none, fitted to the files it has.

Pure: from the names of its files, the checks found in it and who owns it to the text of a
`.github/orchestrate.yml` that says no more than what is seen.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from policies.config import PATH
from policies.verdict import code

PACKAGES = 5
"""Folders with a manifest of their own from which on a repository is taken for one of many."""

LANGUAGES = 3
"""Languages that are named: what a person would say of their repository."""

_MANIFESTS = frozenset({"package.json", "pyproject.toml", "Cargo.toml", "go.mod", "pom.xml"})
_LANGUAGES = {
    ".py": "Python",
    **dict.fromkeys((".ts", ".tsx"), "TypeScript"),
    **dict.fromkeys((".js", ".jsx", ".mjs"), "JavaScript"),
    ".go": "Go",
    ".rs": "Rust",
    ".java": "Java",
    ".kt": "Kotlin",
    ".rb": "Ruby",
    ".php": "PHP",
    ".cs": "C#",
    ".swift": "Swift",
    **dict.fromkeys((".c", ".h"), "C"),
    **dict.fromkeys((".cc", ".cpp", ".hpp"), "C++"),
    ".sh": "Shell",
}
# Folders that say what runs in production, where a mistake is not undone by a rollback.
_PRODUCTION = ("deploy", "helm", "infra", "k8s", "migrations", "terraform")


@dataclass(frozen=True, slots=True)
class Site:
    """What is seen of a repository: its files, whether all may read it, and who owns it."""

    paths: Collection[str]
    is_public: bool
    is_personal: bool


@dataclass(frozen=True, slots=True)
class Proposal:
    """A file to be proposed, and what the pull request says of it."""

    text: str
    body: str


def propose(site: Site, checks: Sequence[tuple[str, str]]) -> Proposal:
    """Propose a configuration; `checks` are those found, each a name and a command."""
    presets, closed = presets_of(site), production_in(site.paths)
    sections = [_HEAD]
    if presets:
        sections.append(f"extends: [{', '.join(presets)}]\n")
    sections.append(_checks(checks))
    if closed:
        globs = "".join(f"    - {glob}\n" for glob in closed)
        sections.append(f"paths:\n  # Beside what is protected anyway.\n  protected:\n{globs}")
    if "open-source" not in presets:  # which says less
        sections.append(_LIMITS)
    return Proposal("\n".join(sections), _body(site, presets, checks, closed))


def presets_of(site: Site) -> tuple[str, ...]:
    """Say which presets fit: who decides, and whether it holds many packages."""
    names = {PurePosixPath(path).name.partition(".")[0].upper() for path in site.paths}
    found = []
    if site.is_personal:
        found.append("solo")
    elif site.is_public and names & {"LICENSE", "LICENCE", "COPYING"}:
        found.append("open-source")
    if len({PurePosixPath(p).parent for p in site.paths if _is_manifest(p)}) >= PACKAGES:
        found.append("monorepo")
    return tuple(found)


def production_in(paths: Collection[str]) -> tuple[str, ...]:
    """Name the folders at the top, as globs, in which what runs in production is kept."""
    tops = {path.split("/", 1)[0] for path in paths if "/" in path}
    return tuple(f"/{name}/" for name in _PRODUCTION if name in tops)


def languages_in(paths: Collection[str]) -> tuple[str, ...]:
    """Name the languages of most files, the most common first."""
    kinds = (PurePosixPath(path).suffix.lower() for path in paths)
    count = Counter(_LANGUAGES[kind] for kind in kinds if kind in _LANGUAGES)
    ordered = sorted(count.items(), key=lambda item: (-item[1], item[0]))
    return tuple(name for name, _ in ordered[:LANGUAGES])


def _is_manifest(path: str) -> bool:
    return PurePosixPath(path).name in _MANIFESTS


def _checks(checks: Sequence[tuple[str, str]]) -> str:
    if not checks:
        return (
            "# None was found; name the commands that say whether a change is good:\n"
            "# checks:\n#   - name: tests\n#     run: make test\n"
        )
    # JSON's texts are YAML's, whatever stands in them.
    lines = [
        f"  - name: {name}\n    run: {json.dumps(run, ensure_ascii=False)}" for name, run in checks
    ]
    return "checks:\n" + "\n".join(lines) + "\n"


def _body(
    site: Site,
    presets: Sequence[str],
    checks: Sequence[tuple[str, str]],
    closed: Sequence[str],
) -> str:
    seen = [
        f"languages: {', '.join(languages_in(site.paths)) or 'none that is known'}",
        f"checks: {', '.join(code(name) for name, _ in checks) or 'none, please name some'}",
    ]
    if presets:
        seen.append(f"presets: {', '.join(code(each) for each in presets)}")
    if closed:
        seen.append(f"closed to agents: {', '.join(code(each) for each in closed)}")
    found = "\n".join(f"- {each}" for each in seen)
    return (
        f"Orchestrate was installed here, and there is no {code(PATH)} yet. This one is fitted to "
        f"what is in the repository:\n\n{found}\n\n"
        "Nothing of it holds until you merge it; change it as you like before. Without one, the "
        "safe defaults hold. Close this if you do not want it: it is not proposed again.\n"
    )


_HEAD = """\
# What Orchestrate may do here. `orchestrate config explain` says what holds and why,
# `orchestrate config schema` prints the schema for your editor.
"""

_LIMITS = """\
limits:
  # US dollars that one run may cost.
  usd: 5
"""
