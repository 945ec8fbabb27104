"""What the rules cost: `python -m bench.policy [--json] [--files N]`.

`ms` is what it takes to judge 10,000 changed files by every rule, under the strict preset with
globs of the repository's own; `secrets_mb_s` how fast secrets are looked for, by their kinds and
those that the server knows, in the Python code that is installed here. Beside it stand `fnmatch`
over the same paths with the same globs, and one regular expression of Python's for ten of the 222
kinds of secret.
"""

from __future__ import annotations

import fnmatch
import random
import re
import sys
import sysconfig
from pathlib import Path

from bench.measure import Times, at_least, at_most, options, report, settle
from bot.redact import Redactor
from policies.config import parse
from policies.facts import Change
from policies.gitleaks import scan
from policies.paths import DEFAULT_PROTECTED
from policies.rules import judge

FILES = 10_000
LIMIT_MS = 300.0
LEAST_MB_S = 20.0
CORPUS_BYTES = 16_000_000
"""Bytes that are scanned in a round: enough that a round is most of a second."""

STRICT = """
extends: [strict]
paths:
  protected: ["secrets/**", "*.pem", "/deploy/", "!/uv.lock"]
  allowed: ["packages/**", "docs/", "*.md"]
  agents: {writer: {protected: ["packages/p1/**"], allowed: ["packages/"]}}
limits: {files: 10000, lines: 100000, megabytes: 100}
"""

_NAIVE = re.compile(
    rb"AKIA[0-9A-Z]{16}|ghp_\w{36}|github_pat_\w{82}|xox[bp]-[\w-]{20,}|sk_live_\w{20,}"
    rb"|glpat-[\w-]{20}|npm_\w{36}|AIza[\w-]{35}|SG\.[\w-]{22}\.[\w-]{43}|-----BEGIN [A-Z ]+ KEY"
)


def changed(number: int, seed: int) -> list[Change]:
    """Make changes of so many files, as a run over many packages leaves them."""
    chance = random.Random(seed)
    return [
        Change(
            path=f"packages/p{chance.randrange(2, 90)}/src/module_{n}/parts/Thing{n}.test.tsx",
            old_path=None,
            status="modified",
            old_mode=0o100644,
            new_mode=0o100644,
            added=3,
            deleted=1,
            binary=False,
            size=4_000,
        )
        for n in range(number)
    ]


def corpus() -> list[tuple[str, bytes]]:
    """Read the Python code that is installed here, up to the bytes of a round."""
    found, size = [], 0
    root = Path(sysconfig.get_path("purelib"))
    for path in sorted(root.rglob("*.py")):
        content = path.read_bytes()
        found.append((path.relative_to(root).as_posix(), content))
        size += len(content)
        if size > CORPUS_BYTES:
            break
    return found


def main() -> int:
    """Measure, and print what came of it."""
    given = options(__doc__, rounds=5).parse_args()
    number = given.files or FILES
    config = parse(STRICT).config
    assert config is not None
    changes, texts, times = changed(number, given.seed), corpus(), Times()
    known = Redactor(f"made-up-{given.seed}-{n:032x}" for n in range(10))
    megabytes = sum(len(content) for _, content in texts) / 1e6
    for number_of_round in range(given.rounds + 1):
        settle()
        times.keeping = number_of_round > 0
        times.time("rules", lambda: judge(changes, (), (), config))
        times.time("fnmatch", lambda: _fnmatch(changes))
        times.time("secrets", lambda: [_secrets(known, *each) for each in texts])
        times.time("naive", lambda: sum(len(_NAIVE.findall(text)) for _, text in texts))
    spent = times.medians()
    speed = round(megabytes / (spent["secrets"] / 1000), 1)
    row = {
        "files": number,
        "ms": spent["rules"],
        "fnmatch_ms": spent["fnmatch"],
        "secrets_mb": round(megabytes, 1),
        "secrets_mb_s": speed,
        "naive_mb_s": round(megabytes / (spent["naive"] / 1000), 1),
    }
    targets = [
        at_most(f"rules over {number:,} changed files", LIMIT_MS, spent["rules"], " ms"),
        at_least("secrets", LEAST_MB_S, speed, " MB/s"),
    ]
    told = {"files": number, "ms": spent["rules"], "secrets_mb_s": speed}
    return report("policy", given, [row], targets, **told)


def _secrets(known: Redactor, path: str, text: bytes) -> int:
    return len(known.find(text)) + sum(1 for _ in scan(path, text))


def _fnmatch(changes: list[Change]) -> int:
    globs = [glob.strip("/") for glob in DEFAULT_PROTECTED]
    return sum(
        fnmatch.fnmatchcase(part, glob)
        for change in changes
        for glob in globs
        for part in change.path.split("/")
    )


if __name__ == "__main__":
    sys.exit(main())
