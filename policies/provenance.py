"""Where each value of a configuration comes from: the file, a preset, or the default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from policies.config import PATH, Config, Parsed
from policies.presets import leaves
from policies.tree import Node, Problem, read

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Origin:
    """A setting as it holds, by its keys, and the layers that said so; the last has its way."""

    setting: str
    value: Any
    layers: tuple[str, ...]

    @property
    def told(self) -> str:
        """The origin in words."""
        return " and ".join(self.layers) or DEFAULT


def origins(parsed: Parsed, text: str | bytes) -> tuple[Origin, ...]:
    """Say of every setting what holds and who said it; `text` is what was parsed.

    Where layers add to one another, as protected paths do, all of them are named.
    """
    config = parsed.config or Config()
    root = read(text)
    told: dict[tuple[str, ...], list[str]] = {}
    for name, layer in parsed.layers:
        for keys, _ in leaves(layer):
            place = _place(name, keys, root)
            adds = keys == ("paths", "protected")
            told[keys] = [*told.get(keys, ()), place] if adds else [place]
    made = config.model_dump(mode="json", exclude={"extends"})
    return tuple(
        Origin(".".join(keys), value, tuple(_told_of(keys, told))) for keys, value in leaves(made)
    )


def _told_of(keys: tuple[str, ...], told: dict[tuple[str, ...], list[str]]) -> list[str]:
    """Find who set a value: exactly it, or what it is in."""
    for length in range(len(keys), 0, -1):
        if keys[:length] in told:
            return told[keys[:length]]
    return []


def _place(layer: str, keys: tuple[str, ...], root: Node | Problem | None) -> str:
    if layer != PATH or not isinstance(root, Node):
        return f"preset {layer}"
    above = root.find(keys[:-1])
    line, _ = above.keys.get(keys[-1], (above.line, above.column))
    return f"line {line}"
