"""Markdown as comments are shown: GitHub's dialect, with no HTML but what is safe.

Of HTML only `<details>` and `<summary>` are kept, and comments are hidden; every other tag shows as
the text it is. Where GitHub reads a block of HTML (from a tag at the start of a line to the next
blank line), Markdown means nothing, and here neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from posixpath import normpath
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.ruler import RuleOptionsType
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markupsafe import Markup

_TAG = re.compile(r"<(details)(\s+open)?\s*>|<(summary)\s*>|</(details|summary)\s*>", re.IGNORECASE)
_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_TASK = re.compile(r"\[([ xX])\]\s+")
_LIVE = re.compile(
    r"(?P<url>https?://[^\s<>\"'`]*[^\s<>\"'`.,:;!?)\]*_])"
    r"|(?<![\w@/&.`-])@(?P<user>[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})(?:\[bot\])?)"
    r"|(?<![\w/&#])#(?P<number>[1-9]\d{0,8})\b"
    r"|(?<![\w/.#-])(?P<sha>[0-9a-f]{7,40})(?![\w/-])"
)

# How far a commit's name is shown, as git does.
SHORT = 7


@dataclass(frozen=True, slots=True)
class Links:
    """What a text may refer to.

    `repository` is the path of the repository's page, or empty where there is none; `issue` gives
    the address of a number, or None; `user` says whether a login is one; `folder` is where relative
    addresses begin, as `(ref, folder in the tree)`, or None where they mean nothing.
    """

    repository: str = ""
    issue: Callable[[int], str | None] = lambda _: None
    user: Callable[[str], bool] = lambda _: False
    folder: tuple[str, str] | None = None


def render(text: str, links: Links, *, breaks: bool = True) -> Markup:
    """The HTML of a Markdown text; `breaks` keeps line ends, as comments do and files do not."""
    parser = _COMMENTS if breaks else _FILES
    return Markup(parser.render(text, {"links": links}))  # noqa: S704  # built from escaped parts


# -- HTML -----------------------------------------------------------------------------------


def _line(state: StateBlock, line: int) -> str:
    return state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]]


def _comment_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    if state.is_code_block(start) or not _line(state, start).startswith("<!--"):
        return False
    if silent:
        return True
    last = start
    while last < end and "-->" not in _line(state, last):
        last += 1
    state.line = min(last + 1, end)
    lines = [_line(state, n) for n in range(start, state.line)]
    _push_html(state, _COMMENT.sub("", "\n".join(lines)))
    return True


def _tag_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    if state.is_code_block(start) or not _TAG.match(_line(state, start)):
        return False
    if silent:
        return True
    last = start
    while last < end and not state.isEmpty(last) and state.sCount[last] >= state.blkIndent:
        last += 1
    state.line = last
    lines = [_line(state, n) for n in range(start, last)]
    _push_html(state, _COMMENT.sub("", "\n".join(lines)))
    return True


def _push_html(state: StateBlock, text: str) -> None:
    place = 0
    for tag in _TAG.finditer(text):
        _push_text(state, text[place : tag.start()])
        closing = tag[4]
        name = (closing or tag[1] or tag[3]).lower()
        token = state.push(f"html_{'close' if closing else 'open'}", name, 0)
        if tag[2]:
            token.attrSet("open", "")
        place = tag.end()
    _push_text(state, text[place:])


def _push_text(state: StateBlock, text: str) -> None:
    if text.strip():
        state.push("html_text", "", 0).content = text.strip()


def _inline_comment(state: StateInline, silent: bool) -> bool:
    if not state.src.startswith("<!--", state.pos):
        return False
    end = state.src.find("-->", state.pos)
    if end < 0:
        return False
    state.pos = end + 3
    return True


def _balance(state: StateCore) -> None:
    """Close every tag in the block that opened it, and drop what closes nothing."""
    open_tags: list[str] = []
    out: list[Token] = []
    for token in state.tokens:
        if token.type == "html_open":
            open_tags.append(token.tag)
        elif token.type == "html_close":
            inside = open_tags[len(open_tags) - _innermost(open_tags) :]
            if token.tag not in inside:
                continue
            while open_tags[-1] != token.tag:
                out.append(_close(open_tags.pop()))
            open_tags.pop()
        elif token.nesting == 1:
            open_tags.append("")
        elif token.nesting == -1:
            while open_tags[-1]:
                out.append(_close(open_tags.pop()))
            open_tags.pop()
        out.append(token)
    state.tokens = [*out, *(_close(tag) for tag in reversed(open_tags))]


def _innermost(open_tags: Sequence[str]) -> int:
    """How many tags are open inside of the innermost Markdown block."""
    return next((n for n, tag in enumerate(reversed(open_tags)) if not tag), len(open_tags))


def _close(tag: str) -> Token:
    return Token("html_close", tag, 0)


# -- tasks and references -------------------------------------------------------------------


def _tasks(state: StateCore) -> None:
    for item, paragraph, inline in zip(
        state.tokens, state.tokens[1:], state.tokens[2:], strict=False
    ):
        if (item.type, paragraph.type, inline.type) != (
            "list_item_open",
            "paragraph_open",
            "inline",
        ):
            continue
        children = inline.children or []
        found = _TASK.match(children[0].content) if children else None
        if found is None or children[0].type != "text":
            continue
        children[0].content = children[0].content[found.end() :]
        box = Token("task", "input", 0)
        box.meta["done"] = found[1] != " "
        children.insert(0, box)
        item.attrJoin("class", "task")


def _references(state: StateCore) -> None:
    links: Links = state.env["links"]
    for token in state.tokens:
        if token.type == "inline" and token.children:
            token.children = list(_refer(token.children, links))


def _refer(children: Iterable[Token], links: Links) -> Iterable[Token]:
    depth = 0
    for child in children:
        depth += {"link_open": 1, "link_close": -1}.get(child.type, 0)
        if child.type == "link_open":
            child.attrSet("href", _absolute(str(child.attrGet("href") or ""), links, "blob"))
            child.attrSet("rel", "nofollow noopener")
        if child.type == "image":
            child.attrSet("src", _absolute(str(child.attrGet("src") or ""), links, "raw"))
        if child.type == "text" and not depth:
            yield from _refer_text(child, links)
        else:
            yield child


def _refer_text(token: Token, links: Links) -> Iterable[Token]:
    place = 0
    for found in _LIVE.finditer(token.content):
        made = _reference(found, links)
        if made is None:
            continue
        yield _text(token.content[place : found.start()])
        yield from made
        place = found.end()
    yield _text(token.content[place:])


def _reference(found: re.Match[str], links: Links) -> list[Token] | None:
    if found["url"]:
        return _anchor(found["url"], _text(found[0]))
    if found["user"]:
        strong = [Token("strong_open", "strong", 1), Token("strong_close", "strong", -1)]
        return [strong[0], _text(found[0]), strong[1]] if links.user(found["user"]) else None
    if found["number"]:
        address = links.issue(int(found["number"]))
        return _anchor(address, _text(found[0])) if address else None
    sha = found["sha"]
    # A word of digits or of letters alone is more likely a number or a word than a commit.
    if not links.repository or (len(sha) < 40 and (sha.isdigit() or sha.isalpha())):
        return None
    short = Token("code_inline", "code", 0, content=sha[:SHORT])
    return _anchor(f"{links.repository}/commit/{sha}", short)


def _anchor(address: str, inner: Token) -> list[Token]:
    attributes: dict[str, Any] = {"href": address, "rel": "nofollow noopener"}
    return [Token("link_open", "a", 1, attributes), inner, Token("link_close", "a", -1)]


def _text(content: str) -> Token:
    return Token("text", "", 0, content=content)


def _absolute(address: str, links: Links, kind: str) -> str:
    """A file's relative address as the page (`blob`) or the bytes (`raw`) of what it names."""
    if links.folder is None or not address or re.match(r"[a-zA-Z][\w+.-]*:|[/#?]", address):
        return address
    ref, folder = links.folder
    path = normpath(f"/{folder}/{address}").lstrip("/")  # from a root, so that `..` ends there
    return f"{links.repository}/{kind}/{ref}/{path}"


# -- HTML out -------------------------------------------------------------------------------


class _Renderer(RendererHTML):
    """markdown-it's own, with the tokens that are ours."""

    def html_open(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        return f"<{tokens[idx].tag}{' open' if tokens[idx].attrGet('open') is not None else ''}>"

    def html_close(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        return f"</{tokens[idx].tag}>"

    def html_text(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        return escapeHtml(tokens[idx].content)

    def task(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        done = tokens[idx].meta["done"]
        return f'<input type="checkbox" disabled{" checked" if done else ""}> '

    def fence(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        token = tokens[idx]
        if token.info.strip() != "diff":
            return super().fence(tokens, idx, options, env)
        lines = (
            f'<span class="{_DIFF.get(line[:1], "ctx")}">{escapeHtml(line)}</span>'
            for line in token.content.rstrip("\n").split("\n")
        )
        return f'<pre class="diff-block"><code>{"".join(lines)}</code></pre>\n'

    def table_open(self, *_: Any) -> str:
        return '<div class="scroll"><table>\n'

    def table_close(self, *_: Any) -> str:
        return "</table></div>\n"


_DIFF = {"+": "add", "-": "del", "@": "hunk"}


def _parser(*, breaks: bool) -> MarkdownIt:
    options = {"html": False, "breaks": breaks, "linkify": False}
    parser = MarkdownIt("commonmark", options, renderer_cls=_Renderer)
    parser.enable(["table", "strikethrough"])
    interrupts: RuleOptionsType = {"alt": ["paragraph", "reference", "blockquote"]}
    parser.block.ruler.before("html_block", "comment_block", _comment_block, interrupts)
    parser.block.ruler.before("html_block", "tag_block", _tag_block, interrupts)
    parser.inline.ruler.before("html_inline", "inline_comment", _inline_comment)
    parser.core.ruler.push("balance", _balance)
    parser.core.ruler.push("tasks", _tasks)
    parser.core.ruler.push("references", _references)
    return parser


_COMMENTS = _parser(breaks=True)
_FILES = _parser(breaks=False)
