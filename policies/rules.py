"""Every rule over one candidate: what stands in the check run `orchestrate/rules`."""

from __future__ import annotations

from collections.abc import Sequence

from policies.config import Config
from policies.dependencies import check_dependencies
from policies.facts import ANYBODY, Author, Change, Dependency, Secret
from policies.limits import check_limits
from policies.paths import check_paths
from policies.secrets import check_secrets
from policies.verdict import NAMED, Verdict, all_of, code

RULE = "rules"


def judge(
    changes: Sequence[Change],
    violations: Sequence[tuple[str, str]],
    secrets: Sequence[Secret],
    config: Config,
    by: Author = ANYBODY,
    dependencies: Sequence[Dependency] = (),
) -> Verdict:
    """Judge a candidate before anything of it is committed or pushed.

    `violations` are what the host found in the workspace that no tree can hold: a path and
    the reason each. `secrets` and `dependencies` are those that the candidate adds, and `by` is who
    made it. The answer's children are the rules, always in the same order.
    """
    return all_of(
        RULE,
        (
            _workspace(violations),
            check_paths(changes, config, by),
            check_limits(changes, config),
            check_dependencies(dependencies, config),
            check_secrets(secrets, config),
        ),
    )


def judge_whole(changes: Sequence[Change], config: Config) -> Verdict:
    """Judge all that a run differs from a base that was brought in, by what it may touch.

    The limits are those of one checkpoint, and each has kept them.
    """
    return all_of(RULE, (check_paths(changes, config),))


def offenders(
    changes: Sequence[Change],
    violations: Sequence[tuple[str, str]],
    secrets: Sequence[Secret],
    config: Config,
    by: Author = ANYBODY,
    dependencies: Sequence[Dependency] = (),
) -> frozenset[str] | None:
    """Name the paths that break a rule, both sides of a rename; what is left is to be judged anew.

    None where what refuses the candidate is about no path: leaving some out would not help.
    """
    found = {path for path, _ in violations}
    found |= {each.path for each in secrets if not check_secrets((each,), config).allowed}
    for change in changes:
        # Each path is judged for itself, whatever others the candidate touches.
        if change.path in found or not check_paths((change,), config, by).allowed:
            found |= {change.path, change.old_path or change.path}
    if not check_dependencies(dependencies, config).allowed:
        # Which of them is one too many nobody can say, so all go back.
        found |= {each.path for each in dependencies}
    if "" in found or not (found or judge(changes, (), (), config, by).allowed):
        return None
    return frozenset(found)


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
