"""Untrusted text in GitHub's Markdown: it shows what it says, and does nothing.

GitHub looks for mentions and references in the text that the reader sees, so an entity alone does
not stop them; a zero-width space behind the sign does.
"""

from __future__ import annotations

import re

from bot.visible import uncommented
from policies.verdict import code

BODY_LIMIT = 65_536
"""Characters of a comment's or a pull request's body."""

OUTPUT_LIMIT = 65_535
"""Characters of a check run's summary, and of its text."""

BREAK = "&#8203;"
"""A zero-width space, as an entity: what stands on both sides of it is not joined."""

LINE_LENGTH = 300
"""Characters of one untrusted line in a list or a sentence."""

QUOTE_LENGTH = 4_000
"""Characters of a quoted request: what was asked stays readable, and the page short."""

_LIVE = re.compile(
    r"(?P<code>(?<!`)(?P<ticks>`+)(?!`)(?:(?!\n\n).)+?(?<!`)(?P=ticks)(?!`))"
    r"|(?P<at>@)|(?P<hash>#)|(?P<link>://|(?<=www)\.)|(?P<gh>(?<=GH)-)"
    r"|(?P<html>[<>&])|(?P<sign>[\\`*_\[\]~|])",
    re.IGNORECASE | re.DOTALL,
)
_TICKS = re.compile(r"`+")
_FENCE = re.compile(r"(?m)^ {0,3}(?P<bars>`{3,})(?P<info>[^`\n]*)$")
_ENTITIES = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def prose(text: str, limit: int = LINE_LENGTH) -> str:
    """Return untrusted text as one inert line; code spans stay code spans.

    It is cut to `limit` characters of what is read.
    """
    return _inert(cut_line(" ".join(uncommented(text).split()), limit))


def quote(text: str, limit: int = QUOTE_LENGTH, rest: str = "") -> str:
    """Return untrusted text of many lines as an inert block quote.

    `rest` is an address of GitHub's at which all of it is to be seen.
    """
    shown = uncommented(text)
    is_cut = len(shown) > limit
    lines = (shown[:limit].rstrip() + ("\n…" if is_cut else "")).splitlines() or [""]
    quoted = "\n".join(f"> {_line(line)}".rstrip() for line in lines)
    return f"{quoted}\n\n[All of it]({rest})" if is_cut and rest else quoted


def fence(text: str, limit: int = OUTPUT_LIMIT, language: str = "text") -> str:
    """Return untrusted text as a code block that it cannot leave, at most `limit` characters.

    Of a longer text the end is kept: there programs say what went wrong.
    """
    shown = "".join(c for c in text if c in "\n\t" or c.isprintable())
    bars = "`" * max(3, 1 + max((len(run) for run in re.findall(r"`+", shown)), default=0))
    room = limit - 2 * len(bars) - len(language) - 3
    if len(shown) > room:
        shown = "[…]\n" + shown[-max(room - 4, 0) :] if room > 4 else ""
    return f"{bars}{language}\n{shown}\n{bars}"[:limit] if room > 0 else ""


def plain(text: str, limit: int) -> str:
    """Return untrusted text for a field that GitHub shows as it is: one line, cut."""
    return cut_line(" ".join(uncommented(text).split()), limit)


def cut_line(text: str, limit: int) -> str:
    """Cut a line to `limit` characters, with an ellipsis where something is missing."""
    return text if len(text) <= limit else text[: max(limit - 1, 0)].rstrip() + "…"


def cut_body(text: str, limit: int = BODY_LIMIT, rest: str = "") -> str:
    """Cut a body to `limit` characters, and say so; open blocks are closed.

    `rest` is an address of ours at which all of it is to be seen.
    """
    if len(text) <= limit:
        return text
    where = f" [All of it]({rest})." if rest else ""
    note = f"\n\n*The rest is cut: GitHub takes no longer text.{where}*\n"
    longest = max(map(len, _TICKS.findall(text)), default=0)
    kept = text[: max(limit - len(note) - longest - 40, 0)]
    kept = kept[: kept.rfind("\n") + 1] or kept
    closing = f"\n{bars}" if (bars := _open_fence(kept)) else ""
    closing += "\n</details>" * (kept.count("<details>") - kept.count("</details>"))
    return kept.rstrip() + closing + note


def _open_fence(text: str) -> str:
    """Return the fence of a code block that the text begins and does not end; empty without."""
    bars = ""
    for found in _FENCE.finditer(text):
        # CommonMark: a block ends at a fence as long as its own at least, with nothing behind.
        if not bars:
            bars = found["bars"]
        elif len(found["bars"]) >= len(bars) and not found["info"].strip():
            bars = ""
    return bars


def _line(line: str) -> str:
    indent = len(line) - len(line.lstrip())
    return "&nbsp;" * min(indent, 8) + _inert(line.strip())


def _inert(text: str) -> str:
    shown = _LIVE.sub(_replaced, text)
    # What would begin a heading, a list or a rule at the start of a line.
    return re.sub(r"^([-+=]|\d+(?=[.)]))", lambda m: f"{BREAK}{m[0]}", shown)


def _replaced(match: re.Match[str]) -> str:
    kind, found = match.lastgroup, match[0]
    if match["code"]:
        return code(found.strip("`").strip() or " ")
    if kind == "at":
        return f"&#64;{BREAK}"
    if kind == "hash":
        return f"&#35;{BREAK}"
    if kind == "link":
        return f":{BREAK}//" if found == "://" else f"{BREAK}."
    if kind == "gh":
        return f"{BREAK}-"
    return _ENTITIES.get(found) or f"\\{found}"
