from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.hub.pages.diffs import Row, rows
from bot.hub.pages.markdown import Links, render

LINKS = Links(
    "/acme/widgets",
    issue=lambda n: f"/acme/widgets/issues/{n}" if n < 10 else None,
    user=lambda login: login in ("writer", "orchestrate[bot]"),
)
SHA = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<b>x</b>", "<p>&lt;b&gt;x&lt;/b&gt;</p>"),
        ("<script>alert(1)</script>", "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>"),
        ("[x](javascript:alert(1))", "<p>[x](javascript:alert(1))</p>"),
        ("a <!-- hidden --> b", "<p>a  b</p>"),
        ("<!-- marker -->\n**Ready**", "<p><strong>Ready</strong></p>"),
        ("<!-- one\ntwo -->\nafter", "<p>after</p>"),
        ("<!-- never closed\n\n# hidden", ""),
        ("`<!-- shown -->`", "<p><code>&lt;!-- shown --&gt;</code></p>"),
        (
            "<details><summary>Commands</summary>\n\n- one\n\n</details>",
            "<details><summary>Commands</summary><ul>\n<li>one</li>\n</ul>\n</details>",
        ),
        ("<details onclick=x>\n\nx", "<p>&lt;details onclick=x&gt;</p>\n<p>x</p>"),
        ("</details>\n\nx", "<p>x</p>"),
        ("<details open>\n\nx", "<details open><p>x</p>\n</details>"),
        ("<details>\n**no Markdown**\n\nx", "<details>**no Markdown**<p>x</p>\n</details>"),
        ("see #3 and #30", '<p>see <a href="/acme/widgets/issues/3" rel="nofollow noopener">#3</a>'
         " and #30</p>"),
        ("hello @writer and @nobody", "<p>hello <strong>@writer</strong> and @nobody</p>"),
        ("by @orchestrate[bot].", "<p>by <strong>@orchestrate[bot]</strong>.</p>"),
        ("mail a@writer.example", "<p>mail a@writer.example</p>"),
        ("`#3 @writer`", "<p><code>#3 @writer</code></p>"),
        (SHA, f'<p><a href="/acme/widgets/commit/{SHA}" rel="nofollow noopener">'
         "<code>0123456</code></a></p>"),
        ("in 1234567 or decade", "<p>in 1234567 or decade</p>"),
        ("https://a.example/x.", '<p><a href="https://a.example/x" rel="nofollow noopener">'
         "https://a.example/x</a>.</p>"),
        ("one\ntwo", "<p>one<br />\ntwo</p>"),
        ("- [x] done", '<ul>\n<li class="task"><input type="checkbox" disabled checked> done</li>'
         "\n</ul>"),
        ("```diff\n+a\n-<b>\n```", '<pre class="diff-block"><code><span class="add">+a</span>'
         '<span class="del">-&lt;b&gt;</span></code></pre>'),
    ],
)  # fmt: skip
def test_a_comment_shows_as_github_would_show_it(text: str, shown: str) -> None:
    assert render(text, LINKS).strip() == shown


@pytest.mark.parametrize(
    ("address", "leads_to"),
    [
        ("docs/x.md", "/a/b/blob/main/sub/docs/x.md"),
        ("../x.md", "/a/b/blob/main/x.md"),
        ("../../../../x.md", "/a/b/blob/main/x.md"),
        ("../.github/x.yml", "/a/b/blob/main/.github/x.yml"),
        ("#part", "#part"),
        ("https://x.example", "https://x.example"),
    ],
)
def test_relative_addresses_in_a_file_lead_to_the_files_beside_it(
    address: str, leads_to: str
) -> None:
    links = Links("/a/b", folder=("main", "sub"))
    assert f'href="{leads_to}"' in render(f"[x]({address})", links, breaks=False)


class _Balance(HTMLParser):
    """Follows the tags that browsers close by themselves nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag not in ("br", "hr", "input", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


HTML = "<details> </details> <summary> </summary> <!-- --> <b> </div>"
PIECES = [*HTML.split(" "), *["x", "`", "*", "-", ">", "#3"], " ", "  ", "\n", "\n\n", "- ", "> ",
          "<details open>", "| a |\n|---|\n"]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=25))
def test_whatever_is_written_closes_what_it_opens_and_nothing_else(pieces: list[str]) -> None:
    found = _Balance()
    found.feed(render("".join(pieces), LINKS))
    found.close()
    assert found.open == []
    assert "b" not in found.tags
    assert "div" not in found.tags or "|---|" in "".join(pieces)


def test_the_rows_of_a_difference_carry_the_numbers_of_both_sides() -> None:
    patch = "@@ -3,3 +3,3 @@ def f():\n a\n-b\n+c\n d\n\\ No newline at end of file"
    assert rows(patch) == [
        Row("hunk", "@@ -3,3 +3,3 @@ def f():"),
        Row("context", "a", 3, 3),
        Row("del", "b", 4, None),
        Row("add", "c", None, 4),
        Row("context", "d", 5, 5),
        Row("note", "No newline at end of file"),
    ]
