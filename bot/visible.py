"""What a person sees of a text, which is all that an agent is shown of it. Pure.

People read what GitHub renders; an agent reads the source. What is in the one and not in the other
is where orders to agents are hidden: characters without a shape, comments, elements that are not
displayed, the alternative text of images, the titles of links. All of it is taken out, also where
a code block would show it: whether something is a code block is a question with two answers, and
the wrong one would let a comment through. What is folded away (`<details>`) can be seen, and stays.
"""

from __future__ import annotations

import re
import unicodedata

ROUNDS_MAX = 20
"""How often what became hidden by taking something out is looked for; beyond that the rest of the
angle brackets go, since nobody writes so by accident."""

_HIDDEN = frozenset({"Cc", "Cf", "Cn", "Co", "Cs"})
"""Unicode's categories of what has no shape: controls, formats, tags, private and unassigned."""

# They have the category of a letter, a mark or a symbol, and no shape.
_SHAPELESS = frozenset(
    "\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0\u2028\u2029\U0001d159"
) | frozenset(chr(n) for n in (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)))

_COMMENT = re.compile(r"<!--(?:-?>|.*?(?:-->|\Z))", re.DOTALL)  # to the end of the text if need be
_UNSEEN = re.compile(
    _COMMENT.pattern +
    # Instructions, literal data and declarations: to the end of the text where they begin a line.
    r"|(?:^[ ]{0,3})<\?.*?(?:\?>|\Z)|<\?[^\n]*?\?>"
    r"|(?:^[ ]{0,3})<!\[CDATA\[.*?(?:\]\]>|\Z)|<!\[CDATA\[.*?\]\]>"
    r"|(?:^[ ]{0,3})<![a-z].*?(?:>|\Z)|<![a-z][^\n>]*>",
    re.DOTALL | re.IGNORECASE | re.MULTILINE,
)
_TAG = re.compile(
    r"<(?P<close>/?)(?P<name>[A-Za-z][A-Za-z0-9-]*)"
    r"(?P<attributes>(?:\s+[^\s\"'<>/=]+(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'=<>`]+))?)*)"
    r"\s*(?P<void>/?)>"
)
_ATTRIBUTE = re.compile(
    r"\s+(?P<name>[^\s\"'<>/=]+)(?:\s*=\s*(?P<value>\"[^\"]*\"|'[^']*'|[^\s\"'=<>`]+))?"
)
_UNDISPLAYED = re.compile(
    r"display:none|visibility:(?:hidden|collapse)|opacity:0*\.?0*(?:[;!]|\Z)|font-size:0"
    r"|(?:^|;)(?:max-)?(?:height|width):0|(?:left|top|text-indent):-\d{3,}"
    r"|color:(?:transparent|white|#f{3,8}\b)|clip(?:-path)?:"
)
_WITHOUT_DISPLAY = frozenset(
    {"script", "style", "template", "noscript", "head", "title", "datalist"}
)
_VOID = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "wbr"}
)
_KEPT_ATTRIBUTES = frozenset({"href", "src"})

_IMAGE = re.compile(r"!\[(?:[^\[\]\\]|\\.|\[[^\[\]]*\])*\](?=[(\[])")
_TITLE = re.compile(
    r"(\]\(\s*(?:<[^<>\n]*>|[^\s()<>]*(?:\([^\s()]*\)[^\s()<>]*)*))"
    r"\s+(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|\((?:[^()\\]|\\.)*\))\s*\)"
)
_DEFINITION = re.compile(
    r"^ {0,3}\[(?!\^)(?P<label>(?:[^\[\]\\]|\\.)+)\]:[ \t]*\n?[ \t]*(?P<to><[^<>\n]*>|\S+)"
    r"(?:[ \t]*\n?[ \t]+(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|\((?:[^()\\]|\\.)*\)))?"
    r"[ \t]*$\n?",
    re.MULTILINE,
)


def visible(text: str) -> str:
    """Return what a person sees of Markdown, without blanks at its ends."""
    text = shapely(text)
    for _ in range(ROUNDS_MAX):
        before = text
        text = _markdown(_elements(_UNSEEN.sub("", text))).strip()
        if text == before:
            return text
    return text.replace("<", "").strip()


def uncommented(text: str) -> str:
    """Return a text without comments and characters without a shape, for who shows the rest."""
    return _COMMENT.sub("", shapely(text)).strip()


def shapely(text: str) -> str:
    """Return a text without the characters that have no shape; line ends and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(each for each in text if each in "\n\t" or _has_shape(each))


def _has_shape(character: str) -> bool:
    return character not in _SHAPELESS and unicodedata.category(character) not in _HIDDEN


def _elements(text: str) -> str:
    """Take out the elements that are not displayed, and what tags say that nobody sees."""
    parts: list[str] = []
    at = 0
    while tag := _TAG.search(text, at):
        parts.append(text[at : tag.start()])
        if not tag["close"] and _is_hidden(tag) and (end := _end(text, tag)) is not None:
            at = end
        else:
            parts.append(_plain(tag))
            at = tag.end()
    return "".join([*parts, text[at:]])


def _is_hidden(tag: re.Match[str]) -> bool:
    if tag["name"].lower() in _WITHOUT_DISPLAY:
        return True
    for each in _ATTRIBUTE.finditer(tag["attributes"]):
        name, value = each["name"].lower(), (each["value"] or "").strip("\"'").lower()
        if name == "hidden" or (name == "aria-hidden" and value == "true"):
            return True
        if name == "style" and _UNDISPLAYED.search(re.sub(r"\s|/\*.*?\*/", "", value)):
            return True
    return False


def _end(text: str, opening: re.Match[str]) -> int | None:
    """Say where a hidden element ends.

    One that is never closed hides all that follows. Only a bare word between angle brackets, such
    as a type's name in code, is then no element.
    """
    name = opening["name"].lower()
    if name in _VOID or opening["void"]:
        return opening.end()
    depth = 1
    for tag in _TAG.finditer(text, opening.end()):
        if tag["name"].lower() == name and not tag["void"]:
            depth += -1 if tag["close"] else 1
            if depth == 0:
                return tag.end()
    return len(text) if opening["attributes"].strip() else None


def _plain(tag: re.Match[str]) -> str:
    """Write a tag without the attributes whose text nobody sees."""
    kept = [
        each[0]
        for each in _ATTRIBUTE.finditer(tag["attributes"])
        if each["value"] is None or each["name"].lower() in _KEPT_ATTRIBUTES
    ]
    if len(kept) == len(list(_ATTRIBUTE.finditer(tag["attributes"]))):
        return tag[0]
    return f"<{tag['close']}{tag['name']}{''.join(kept)}{tag['void']}>"


def _markdown(text: str) -> str:
    """Take out what Markdown does not show: texts of images, titles, unused definitions."""
    text = _TITLE.sub(r"\1)", _IMAGE.sub("![]", text))
    return _DEFINITION.sub(lambda found: _definition(found, text), text)


def _definition(found: re.Match[str], text: str) -> str:
    label = f"[{found['label']}]".casefold()
    if text.casefold().count(label) < 2 or found["to"] == "#":
        return ""
    return f"[{found['label']}]: {found['to']}\n"
