"""Whether a candidate adds secrets: what looks like one by gitleaks' rules, or is the server's own.

Judged before anything is pushed, since what was pushed once is known for ever. What the base has
already is not held against a candidate. A verdict says where and of which kind, never what.
"""

from __future__ import annotations

from collections.abc import Iterable

from policies.config import Config
from policies.facts import KNOWN, Secret
from policies.globs import compile_globs, normal
from policies.verdict import NAMED, Verdict, code, counted

RULE = "secrets"


def check_secrets(secrets: Iterable[Secret], config: Config) -> Verdict:
    """Judge what was found, by the section `secrets`; nothing there opens the server's own."""
    found = sorted(set(secrets))
    own = [each for each in found if each.kind == KNOWN]
    other = [each for each in found if each.kind != KNOWN and not _allowed(each, config)]
    reason = " ".join(sentence for sentence in (_own(own), _other(other)) if sentence)
    if reason:
        return Verdict(False, RULE, reason)
    passed = len(found) - len(own) - len(other)
    if passed:
        return Verdict(True, RULE, f"The configuration allows {counted(passed, 'finding')}.")
    return Verdict(True, RULE, "Nothing looks like a secret.")


def _allowed(secret: Secret, config: Config) -> bool:
    section = config.secrets
    if secret.kind in section.ignored or (section.comments and secret.marked):
        return True
    return compile_globs(section.allowed).match(normal(secret.path))


def _own(found: list[Secret]) -> str:
    if not found:
        return ""
    return (
        f"A secret that this server keeps stands in {_places(found)}. No configuration allows"
        " that: ask for the work without it, and have the operator find out how it got there."
    )


def _other(found: list[Secret]) -> str:
    if not found:
        return ""
    return (
        f"What looks like a secret stands in {_places(found)}. Ask for the work with the secret"
        " read from the environment, or have a maintainer allow what is none under `secrets:` in"
        " `.github/orchestrate.yml`."
    )


def _places(found: list[Secret]) -> str:
    shown = ", ".join(_place(each) for each in found[:NAMED])
    more = len(found) - NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def _place(secret: Secret) -> str:
    kind = "" if secret.kind == KNOWN else f" ({secret.kind})"
    return f"{code(secret.path)}, line {secret.line}{kind}"
