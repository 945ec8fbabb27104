"""A page for each rule, made from the rule: what it says of itself, its settings, and a refusal.

The refusal is what the rule really answers to the example beside it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType, ModuleType

from policies import (
    approval,
    branches,
    consent,
    dependencies,
    freeze,
    hold,
    limits,
    paths,
    preflight,
    required,
    roles,
    secrets,
    sign_off,
    spending,
    trust,
)
from policies.config import Config
from policies.facts import (
    ApprovalFacts,
    Approver,
    BranchRules,
    Change,
    Commit,
    ConsentFacts,
    DaySpent,
    Dependency,
    HoldFacts,
    Person,
    PreflightFacts,
    Reported,
    RequiredFacts,
    Role,
    Secret,
    Spent,
    TrustFacts,
)
from policies.owners import Owned
from policies.reference import setting_lines
from policies.sections import Approval, Budget, Daily, Freeze
from policies.verdict import Verdict

_HEAD = "1a2b3c4" + "0" * 33
_FILE = 0o100644


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule as a page tells it: its module, the settings it heeds, and an example it refuses.

    `when` are the words for who asks it, `example` those for the facts that `refused` gives it.
    """

    module: ModuleType
    when: str
    settings: tuple[str, ...]
    example: str
    refused: Callable[[], Verdict]


_CANDIDATE = "Asked of what every turn of an agent leaves behind, before it is committed."

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "paths": Rule(
            paths,
            _CANDIDATE,
            ("paths",),
            "An agent changes `uv.lock`, under the defaults.",
            lambda: paths.check_paths(
                [Change("uv.lock", None, "modified", _FILE, _FILE, 1, 1, False, 10)], Config()
            ),
        ),
        "limits": Rule(
            limits,
            _CANDIDATE,
            ("limits.files", "limits.megabytes", "limits.lines", "limits.binaries"),
            "An agent changes 301 files, under the defaults.",
            lambda: limits.check_limits(
                [
                    Change(f"src/{n}.py", None, "modified", _FILE, _FILE, 1, 1, False, 10)
                    for n in range(301)
                ],
                Config(),
            ),
        ),
        "dependencies": Rule(
            dependencies,
            _CANDIDATE,
            ("limits.dependencies",),
            "An agent adds a library, where `limits: dependencies:` is 0.",
            lambda: dependencies.check_dependencies(
                [Dependency("pyproject.toml", "requests")],
                Config(limits=Config().limits.model_copy(update={"dependencies": 0})),
            ),
        ),
        "secrets": Rule(
            secrets,
            _CANDIDATE,
            ("secrets",),
            "An agent writes a key into a file.",
            lambda: secrets.check_secrets([Secret("src/a.py", 12, "aws-access-token")], Config()),
        ),
        "role": Rule(
            roles,
            "Asked of whoever gives a command, by comment, review, label, button or schedule.",
            ("commands",),
            "Somebody who may only read starts a run.",
            lambda: roles.may_act("orchestrate", Person("ada", Role.READ), Config()),
        ),
        "approval": Rule(
            approval,
            "Asked of whoever approves.",
            ("commands.who", "approval.requester"),
            "Who asked for the change approves it, where others could.",
            lambda: approval.may_approve(
                ApprovalFacts(Person("ada", Role.ADMIN), "ada", (), True, None, _HEAD), Config()
            ),
        ),
        "consent": Rule(
            consent,
            "Asked of all approvals of a head together, whenever somebody approves it.",
            ("approval",),
            "One approved, where it takes two, a team and the owner of a path.",
            lambda: consent.enough(
                ConsentFacts(
                    "acme", (Approver("ada", Role.ADMIN),), (Owned("src/a.py", ("@grace",)),)
                ),
                Config(approval=Approval(required=2, teams=("security",), code_owners=True)),
            ),
        ),
        "required": Rule(
            required,
            "Asked of GitHub when an approved head is to be merged, and again at whatever news.",
            ("merge.checks",),
            "One check is red on the head, and another has not reported.",
            lambda: required.check_required(
                RequiredFacts(("ci / build", "ci / docs"), (Reported("ci / build", "red"),))
            ),
        ),
        "branches": Rule(
            branches,
            "Asked beside the start of a run, and again when it is to be merged.",
            ("merge.method", "commits"),
            "The base takes signed commits only, and the configuration leaves commits to git.",
            lambda: branches.check_branch(
                "main", BranchRules(signatures=True), Config(commits="git")
            ),
        ),
        "preflight": Rule(
            preflight,
            "Asked beside the start of a run, while its agent begins.",
            ("preflight",),
            "The base is red, and the request names a lock file.",
            lambda: preflight.check_wanted(
                PreflightFacts("main", base=(Reported("ci", "red"),), named=("uv.lock",)), Config()
            ),
        ),
        "sign-off": Rule(
            sign_off,
            "Asked of the commits that people pushed to a run's branch, before they are taken in.",
            ("sign_off",),
            "Ada pushed a commit without it, where the configuration asks for it.",
            lambda: sign_off.check_sign_off(
                [Commit(_HEAD, "Ada", "ada@example.org")], Config(sign_off=True)
            ),
        ),
        "trust": Rule(
            trust,
            "Asked when somebody trusts a pull request that no run made, or asks for work on it.",
            ("trust", "commands.who"),
            "A maintainer trusts a commit to which somebody has pushed since.",
            lambda: trust.check_trust(
                TrustFacts("feedbee", _HEAD, is_open=True), Config(trust="checks")
            ),
        ),
        "hold": Rule(
            hold,
            "Asked when somebody approves a head, and again right before it is merged.",
            ("hold",),
            "Grace held the run, and somebody approves it.",
            lambda: hold.check_hold(
                HoldFacts(frozenset(), (("grace", "until the release is out"),)), Config()
            ),
        ),
        "freeze": Rule(
            freeze,
            "Asked when somebody approves a head, and again right before it is merged.",
            ("freeze",),
            "Somebody approves on a Saturday, where weekends are frozen.",
            lambda: freeze.check_freeze(
                datetime(2026, 11, 28, 12, tzinfo=UTC),
                Config(freeze=(Freeze(name="weekend", start="fri 16:00", end="mon 08:00"),)),
            ),
        ),
        "budget": Rule(
            spending,
            "Asked before a run starts, and before each turn of an agent.",
            ("budget", "limits.usd", "limits.tokens"),
            "Runs of the repository have used 50 dollars today.",
            lambda: spending.check_day(
                DaySpent("ada", Spent(usd=50)), Config(budget=Budget(person=Daily()))
            ),
        ),
    }
)


def pages() -> dict[str, str]:
    """Return the pages by name: one of each rule."""
    return {name: _page(name, rule) for name, rule in RULES.items()}


def _page(name: str, rule: Rule) -> str:
    return "\n".join(_lines(name, rule)).rstrip() + "\n"


def _lines(name: str, rule: Rule) -> Iterator[str]:
    yield f"# The rule `{name}`"
    yield ""
    yield inspect.cleandoc(rule.module.__doc__ or "")
    yield ""
    yield rule.when
    yield ""
    yield "## What it heeds"
    yield ""
    for setting in rule.settings:
        yield from setting_lines(setting)
    yield ""
    yield "## What it says"
    yield ""
    yield rule.example
    yield ""
    yield "```text"
    yield from (line.replace("`", "") for line in rule.refused().lines())
    yield "```"
