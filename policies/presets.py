"""Configurations that come with the program: `extends: [strict]` begins with one.

A preset is a part of a configuration file. Later presets count over earlier ones, and the file
over all of them; their protected paths are added to one another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

Table = Mapping[str, Any]

PRESETS: Mapping[str, Table] = MappingProxyType(
    {
        # Where a mistake costs much: little at a time, judged by somebody else, and what decides
        # how a product is built stays with people.
        "strict": {
            "approval": {"requester": "never", "code_owners": True},
            "commands": {
                "who": {"orchestrate": "maintain", "override": "admin"},
                "delegation": False,
            },
            "limits": {
                "turns": 2,
                "files": 50,
                "lines": 2000,
                "megabytes": 1,
                "binaries": 0,
                "dependencies": 0,
            },
            "paths": {
                "protected": [
                    "Dockerfile*",
                    "*.dockerfile",
                    "docker-compose*.y*ml",
                    "Makefile",
                    "/scripts/",
                    "setup.py",
                    "pyproject.toml",
                    "package.json",
                    "Cargo.toml",
                    "go.mod",
                    "*.tf",
                    "LICENSE*",
                    "SECURITY.md",
                ]
            },
        },
        # One person's repository: nobody else is there to decide.
        "solo": {
            "approval": {"requester": "always"},
            "limits": {"runs_per_issue": 3},
        },
        # Anybody may open an issue or a pull request; few may spend money or change the terms.
        "open-source": {
            "approval": {"requester": "never"},
            "limits": {"usd": 2.0, "turns": 2},
            "paths": {"protected": ["LICENSE*", "COPYING*", "NOTICE*", "SECURITY.md"]},
        },
        # Many packages in one place: a change spreads over more of them, and takes longer.
        "monorepo": {
            "limits": {
                "files": 2000,
                "lines": 100_000,
                "megabytes": 50,
                "minutes": 90,
                "runs_per_issue": 5,
            },
        },
    }
)

# Lists to which a later layer adds, where others take the place of what was there: what one layer
# protects, the next does not forget.
_ADDED = frozenset({("paths", "protected")})


def layered(layers: Iterable[Table]) -> dict[str, Any]:
    """Lay tables over one another: of two values for one setting, the later counts."""
    made: dict[str, Any] = {}
    for layer in layers:
        _lay(made, layer, ())
    return made


def leaves(table: Table, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value of a table that is no table, with the keys that lead to it."""
    for key, value in table.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _spelled_out(value: Any, above: tuple[str, ...]) -> dict[str, Any]:
    """Return a role as what it is short for, so that whom a later layer names stands beside it."""
    return {"role": value} if above == ("commands", "who") and isinstance(value, str) else {}


def _lay(made: dict[str, Any], layer: Table, above: tuple[str, ...]) -> None:
    for key, value in layer.items():
        here = (*above, key)
        if isinstance(value, Mapping):
            under = made.get(key)
            made[key] = dict(under) if isinstance(under, Mapping) else _spelled_out(under, above)
            _lay(made[key], value, here)
        elif here in _ADDED and isinstance(made.get(key), list):
            made[key] = [*made[key], *value]
        else:
            made[key] = list(value) if isinstance(value, list | tuple) else value
