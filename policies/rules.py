"""Every rule over one candidate: what stands in the check run `orchestrate/rules`."""

from __future__ import annotations

from collections.abc import Sequence

from policies.config import Config
from policies.facts import Change
from policies.limits import check_limits
from policies.paths import check_paths
from policies.verdict import NAMED, Verdict, all_of, code

RULE = "rules"


def judge(
    changes: Sequence[Change], violations: Sequence[tuple[str, str]], config: Config
) -> Verdict:
    """Judge a candidate before anything of it is committed or pushed.

    `violations` are what the host found in the workspace that no tree can hold: a path and
    the reason each. The answer's children are the rules, always in the same order.
    """
    return all_of(
        RULE,
        (
            _workspace(violations),
            check_paths(changes, config),
            check_limits(changes, config),
        ),
    )


def _workspace(violations: Sequence[tuple[str, str]]) -> Verdict:
    if not violations:
        return Verdict(True, "workspace", "Everything in the workspace can be committed.")
    found = sorted(set(violations))
    shown = "; ".join(
        f"{code(path)} {reason.strip().rstrip('.')}" for path, reason in found[:NAMED]
    )
    more = f"; and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return Verdict(
        False,
        "workspace",
        f"What the agent left cannot be committed: {shown}{more}. Ask for the work without"
        " these paths, or try the turn again.",
    )
