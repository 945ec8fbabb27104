"""Known secrets are taken out, however they were printed; nothing else is."""

import json
import textwrap
import time
from base64 import b32encode, b64encode, urlsafe_b64encode
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bot.redact import FRAGMENT, HELD_MAX, MARK, Redactor, redactor_of

KEY = "sk-ant-api03-Zq8_Yw5tR1-uLx0PnB7vKcE2sDfG4hJmA9iOoT6rWQ"
MEGABYTES_A_SECOND = 5
"""What a redactor must do while other tests take the processor; alone it does over fifty."""


def _percent(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def _unicode(text: str) -> str:
    units = text.encode("utf-16-be")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


WAYS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "reversed": lambda text: text[::-1],
    "base64": lambda text: b64encode(text.encode()).decode(),
    "base64, one byte before": lambda text: b64encode(b"x" + text.encode()).decode(),
    "base64, two bytes before": lambda text: b64encode(b"u:" + text.encode() + b"!").decode(),
    "base64 for URLs": lambda text: urlsafe_b64encode(text.encode()).decode(),
    "base64 in lines": lambda text: "\n".join(textwrap.wrap(b64encode(text.encode()).decode(), 19)),
    "base64 in lines within JSON": lambda text: json.dumps(
        "\n".join(textwrap.wrap(b64encode(text.encode()).decode(), 19))
    ),
    "hex": lambda text: text.encode().hex(),
    "hex, upper case": lambda text: text.encode().hex().upper(),
    "hex with colons": lambda text: text.encode().hex(":"),
    "hex dump": lambda text: text.encode().hex(" ", 2),
    "upper case": lambda text: text.upper() if text.isascii() else text,
    "percent-encoded": _percent,
    "percent-encoded where it must be": lambda text: quote(text, safe=""),
    "percent-encoded twice": lambda text: quote(_percent(text)),
    "JSON": json.dumps,
    "JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "unicode escapes": _unicode,
    "Python's escapes": lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()),
    "HTML": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "HTML in hex": lambda text: "".join(f"&#x{ord(c):X};" for c in text),
    "a character a line": "\n".join,
}

secrets = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=20, max_size=60
).filter(lambda text: len(set(text)) > 8)
around = st.text(st.characters(codec="utf-8"), max_size=40)


@pytest.mark.parametrize("way", WAYS)
def test_a_key_is_taken_out_however_it_was_printed(way: str) -> None:
    printed = WAYS[way](KEY)

    clean = Redactor([KEY]).text(f"before {printed} after")

    assert clean.startswith("before ")
    assert clean.endswith(" after")
    assert MARK in clean
    # What may stay are the characters of base64 that tell of the secret and its neighbour at once.
    assert len(clean) <= len("before  after") + len(MARK) + 8


@given(secret=secrets, before=around, after=around, way=st.sampled_from(sorted(WAYS)))
@example(secret="n" + KEY, before="\\", after="", way="plain")
@example(secret="41" + KEY, before="%", after="", way="plain")
@example(secret=KEY + "%41\\n\\u0041", before="", after="", way="plain")
@settings(deadline=None)
def test_no_piece_of_a_secret_is_left(secret: str, before: str, after: str, way: str) -> None:
    redactor = Redactor([secret])

    clean = redactor.text(before + WAYS[way](secret) + after)

    assert MARK in clean
    assert redactor.find(clean.encode()) == []


@given(
    secret=secrets,
    way=st.sampled_from(sorted(WAYS)),
    before=around,
    after=around,
    cuts=st.lists(st.integers(0, 400), max_size=30),
)
@example(secret="0¡\U00010000" + KEY, way="JSON", before="", after="", cuts=[20])
@settings(deadline=None)
def test_a_secret_that_is_split_over_reads_is_one(
    secret: str, way: str, before: str, after: str, cuts: list[int]
) -> None:
    redactor = Redactor([secret])
    data = (before + WAYS[way](secret) + after).encode()
    stream = redactor.stream()
    places = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]

    shown = [stream.feed(data[a:b]) for a, b in pairwise(places)]
    clean = b"".join([*shown, stream.close()])

    assert MARK.encode() in clean
    assert redactor.find(clean) == []


@given(text=st.text(max_size=300), cuts=st.lists(st.integers(0, 300), max_size=10))
@settings(deadline=None)
def test_what_holds_no_secret_stays_as_it_is(text: str, cuts: list[int]) -> None:
    redactor = Redactor([KEY, "hunter2 hunter2"])
    data = text.encode("utf-8", "surrogatepass")
    places = [0, *sorted(cuts), len(data)]
    stream = redactor.stream()

    shown = [stream.feed(data[a:b]) for a, b in pairwise(places)]

    assert redactor.text(text) == text
    assert b"".join([*shown, stream.close()]) == data


@given(data=st.binary(max_size=300))
@settings(deadline=None)
def test_any_bytes_can_be_looked_through(data: bytes) -> None:
    assert Redactor([KEY]).data(data) == data


@given(secret=st.text("abcdefghijkXYZ0123456789-_/+%&\\", min_size=8, max_size=19), before=around)
@example(secret="%41%42%43", before="")
@example(secret="nnnnnnnn", before="\\")
@settings(deadline=None)
def test_a_short_secret_is_found_in_one_piece(secret: str, before: str) -> None:
    clean = Redactor([secret]).text(f"{before}{secret}.")

    assert secret not in clean
    assert MARK in clean


def test_half_a_key_is_none() -> None:
    clean = Redactor([KEY]).text(f"it begins with {KEY[:20]}, and ends in {KEY[-20:]}")

    assert clean == f"it begins with {MARK}, and ends in {MARK}"


def test_a_makers_prefix_alone_is_no_secret() -> None:
    assert len("sk-ant-api03-") < FRAGMENT
    assert Redactor([KEY]).text("keys begin with sk-ant-api03-") == "keys begin with sk-ant-api03-"


def test_each_line_of_a_key_in_pem_is_secret_but_not_its_frame() -> None:
    lines = [b32encode(bytes([n]) * 30).decode() for n in range(1, 5)]
    pem = "\n".join(["-----BEGIN RSA PRIVATE KEY-----", *lines, "-----END RSA PRIVATE KEY-----"])
    redactor = Redactor([pem.replace("\n", "\\n")])

    clean = redactor.text(f"{pem}\nand {lines[2]} alone, and {b64encode(pem.encode()).decode()}")

    assert not any(line in clean for line in lines)
    assert clean.startswith("-----BEGIN RSA PRIVATE KEY-----\n[secret]")
    assert redactor.find(clean.encode()) == []


def test_json_stays_json() -> None:
    line = json.dumps({"text": f"the key is {KEY}\n", "n": 1})

    clean = Redactor([KEY]).text(line)

    assert json.loads(clean) == {"text": f"the key is {MARK}\n", "n": 1}


def test_values_are_cleaned_in_depth() -> None:
    clean = Redactor([KEY]).value({KEY: [KEY, 1, None, ("a", KEY)], "b": {"c": f"={KEY}"}})

    assert clean == {MARK: [MARK, 1, None, ("a", MARK)], "b": {"c": f"={MARK}"}}


def test_too_short_a_secret_leaves_words_alone() -> None:
    redactor = Redactor(["", "x", "pass", "   "])

    assert not redactor
    assert redactor.text("pass the x") == "pass the x"


def test_what_is_learned_later_is_found_in_streams_that_run() -> None:
    redactor = Redactor()
    stream = redactor.stream()

    assert stream.feed(f"{KEY}\n".encode()) == f"{KEY}\n".encode()
    redactor.learn([KEY])
    assert stream.feed(f"{KEY}\n".encode()) == f"{MARK}\n".encode()


def test_a_line_is_shown_as_soon_as_it_ends() -> None:
    stream = Redactor([KEY]).stream()

    # It ends as the key begins, but with too little of it to wait for.
    assert stream.feed(b"tests\n") == b"tests\n"
    assert stream.feed(b"a line with sk-ant") == b"a line with "
    assert stream.feed(b" in it\n") == b"sk-ant in it\n"


def test_a_stream_keeps_back_no_more_than_it_may() -> None:
    stream = Redactor([KEY]).stream()

    shown = [
        stream.feed(b"sk-ant-api03-Zq8" + b" " * 1000),
        *(stream.feed(b" " * 1000) for _ in range(70)),
    ]

    assert sum(map(len, shown)) > HELD_MAX // 2


def test_redactors_of_the_same_secrets_are_one() -> None:
    assert redactor_of(frozenset({KEY})) is redactor_of(frozenset({KEY}))


def test_ordinary_text_is_looked_through_fast() -> None:
    sources = Path(__file__).parents[2].joinpath("bot").rglob("*.py")
    text = b"".join(path.read_bytes() for path in sorted(sources))
    redactor = Redactor([f"{n:02}-{KEY[n:]}{KEY[:n]}" for n in range(20)])

    before = time.process_time()
    redactor.data(text)
    seconds = time.process_time() - before

    assert len(text) / seconds / 1e6 > MEGABYTES_A_SECOND
