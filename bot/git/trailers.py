"""The trailers of a commit's message: written, and read back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

RUN = "Orchestrate-Run"
CHECKPOINT = "Orchestrate-Checkpoint"
TASK = "Orchestrate-Task"
AGENT = "Orchestrate-Agent"
CO_AUTHOR = "Co-authored-by"
SIGNED_OFF = "Signed-off-by"

_TRAILER = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9-]*): (?P<value>\S.*)\Z")


def with_trailers(text: str, trailers: Mapping[str, str | Sequence[str]]) -> str:
    """Return a commit's message: `text`, then a paragraph of trailers in the order given.

    A value is written on one line. An empty value is left out. Raises ValueError for a name that
    git would not take for a trailer's.
    """
    lines = []
    for name, given in trailers.items():
        for value in [given] if isinstance(given, str) else given:
            line = f"{name}: {' '.join(value.split())}"
            if not value.strip():
                continue
            if not _TRAILER.match(line):
                raise ValueError(f"{name!r} is no name for a trailer")
            lines.append(line)
    paragraphs = [text.replace("\0", "").strip(), "\n".join(lines)]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph) + "\n"


def trailers_of(message: str) -> dict[str, tuple[str, ...]]:
    """Return the values of each trailer of a message, by name.

    Only a last paragraph that is nothing but trailers counts, below a first one: what somebody
    quotes further up, or in a subject, says nothing.
    """
    paragraphs = re.split(r"\n[ \t]*\n", message.strip())
    if len(paragraphs) < 2:
        return {}
    found: dict[str, tuple[str, ...]] = {}
    for line in paragraphs[-1].split("\n"):
        match = _TRAILER.match(line.rstrip())
        if not match:
            return {}
        found[match["name"]] = (*found.get(match["name"], ()), match["value"])
    return found
