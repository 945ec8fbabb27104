"""Where each value of a configuration comes from: the file, a preset, or the default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from policies.bounds import bounded
from policies.config import PATH, Config, Parsed
from policies.presets import PRESETS, Table, leaves
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


def origins(
    parsed: Parsed, text: str | bytes, bounds: Sequence[tuple[str, Config]] = ()
) -> tuple[Origin, ...]:
    """Say of every setting what holds and who said it; `text` is what was parsed.

    Where layers add to one another, as protected paths do, all of them are named. `bounds` are laid
    on one after the other, by name; who changed a value by that is named last.
    """
    config = parsed.config or Config()
    found = _by_layers(config, parsed, text)
    for name, bound in bounds:
        config = bounded(config, bound)
        found = _changed(found, config, f"bounds of {name}")
    return tuple(found.values())


def _changed(before: dict[str, Origin], config: Config, by: str) -> dict[str, Origin]:
    """Say anew what holds where bounds changed it."""
    now = {".".join(keys): value for keys, value in leaves(_dumped(config))}
    found = {}
    for setting, value in now.items():
        was = before.get(setting)
        layers = was.layers if was else ()
        is_same = was is not None and was.value == value
        found[setting] = Origin(setting, value, layers if is_same else (*layers, by))
    return found


def _dumped(config: Config) -> Table:
    return config.model_dump(mode="json", exclude={"extends"})


def _by_layers(config: Config, parsed: Parsed, text: str | bytes) -> dict[str, Origin]:
    root = read(text)
    told: dict[tuple[str, ...], list[str]] = {}
    for name, layer in parsed.layers:
        for keys, _ in leaves(layer):
            place = _place(name, keys, root)
            adds = keys == ("paths", "protected")
            told[keys] = [*told.get(keys, ()), place] if adds else [place]
    return {
        ".".join(keys): Origin(".".join(keys), value, tuple(_told_of(keys, told)))
        for keys, value in leaves(_dumped(config))
    }


def _told_of(keys: tuple[str, ...], told: dict[tuple[str, ...], list[str]]) -> list[str]:
    """Find who set a value: exactly it, or what it is in."""
    for length in range(len(keys), 0, -1):
        if keys[:length] in told:
            return told[keys[:length]]
    return []


def _place(layer: str, keys: tuple[str, ...], root: Node | Problem | None) -> str:
    if layer != PATH or not isinstance(root, Node):
        return f"preset {layer}" if layer in PRESETS else layer
    above = root.find(keys[:-1])
    line, _ = above.keys.get(keys[-1], (above.line, above.column))
    return f"line {line}"
