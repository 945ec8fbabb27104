"""Trees as bytes: what is found in one, and what is made of one, as if all of it were looked at."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bot.git import trees
from bot.git.trees import EXECUTABLE, FILE, FOLDER, LINK, Entry, Tree, entry_of, serialise, spliced

NAMES = st.one_of(
    st.sampled_from([b"a", b"b", b"a b", b"100644 a", b"40000 b", b"a.b", b"a-", b"a0"]),
    st.binary(min_size=1, max_size=3).filter(lambda name: not {0, 47} & {*name}),
)
IDS = st.one_of(
    st.binary(min_size=20, max_size=20),
    # Ids in which an entry seems to stand.
    st.sampled_from([b"xx100644 a\0" + bytes(9), b"100644 a b\0" + b"z" * 9, b"1" * 20]),
)
ENTRIES = st.tuples(st.sampled_from([FILE, EXECUTABLE, LINK, FOLDER]), IDS)
TREES = st.dictionaries(NAMES, ENTRIES, max_size=12)
CHANGES = st.dictionaries(NAMES, st.one_of(st.none(), ENTRIES), max_size=9)


@given(entries=TREES, asked=st.lists(NAMES, max_size=12))
def test_an_entry_is_found_by_its_name_and_none_where_there_is_none(
    entries: dict[bytes, Entry], asked: list[bytes]
) -> None:
    tree = Tree(serialise(entries))
    for name in [*asked, *entries]:
        line = tree.get(name)
        assert (None if line is None else entry_of(line)) == entries.get(name)
        assert (name in tree) == (name in entries)
    assert tree.lines() == trees.parse(tree.raw)


@given(entries=TREES, changes=CHANGES, others=st.booleans())
def test_a_splice_is_the_tree_of_what_is_then_there(
    entries: dict[bytes, Entry], changes: dict[bytes, Entry | None], others: bool
) -> None:
    for each in (changes, *({name: changes[name]} for name in changes)):
        tree = Tree(serialise(entries))
        if others:
            tree.lines()
        there = {**entries, **each}
        assert spliced(tree, each) == serialise({n: it for n, it in there.items() if it})
