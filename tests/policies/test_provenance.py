from __future__ import annotations

from policies.config import parse
from policies.provenance import origins

TEXT = """\
extends: [strict, monorepo]
paths:
  protected: [/law/]
limits:
  files: 9
checks:
  - {name: a, run: b}
"""


def test_every_setting_tells_where_it_comes_from() -> None:
    told = {each.setting: each for each in origins(parse(TEXT), TEXT)}
    assert told["limits.files"].told == "line 5"
    assert told["limits.turns"].told == "preset strict"
    assert told["limits.megabytes"].told == "preset monorepo"
    assert told["limits.usd"].told == "default"
    assert told["checks"].told == "line 6"
    assert told["paths.protected"].told == "preset strict and line 3"
    assert told["paths.protected"].value[-1] == "/law/"
    assert (told["limits.files"].value, told["limits.lines"].value) == (9, 100_000)


def test_an_empty_file_is_all_defaults() -> None:
    assert {each.told for each in origins(parse(""), "")} == {"default"}
