"""Whether people signed their commits off, as the Developer Certificate of Origin asks.

With `sign_off: true` the checkpoints of the bot carry `Signed-off-by` of their author, who is the
App's own user and never a person: nobody's word is given for them. Commits that people push to a
run's branch are taken in only where each has a `Signed-off-by` line with its author's address;
merges need none, and what comes from the base is not asked about. It holds for what is made or
pushed from the run's start on. A squash carries the lines of all that it puts together, unless a
merge queue makes it: what that writes is GitHub's.
"""

from __future__ import annotations

from collections.abc import Sequence

from policies.config import Config
from policies.facts import Commit
from policies.verdict import NAMED, Verdict, code

RULE = "sign-off"

# As git itself shortens a commit's name.
_SHORT = 7


def check_sign_off(commits: Sequence[Commit], config: Config) -> Verdict:
    """Judge the commits that people pushed, in whatever order."""
    if not config.sign_off:
        return Verdict(True, RULE, "Commits need no sign-off here.")
    missing = {each for each in commits if not _is_signed_off(each)}
    if not missing:
        return Verdict(True, RULE, "Every commit is signed off by its author.")
    found = sorted(missing, key=lambda each: each.sha)
    told = ", ".join(f"{code(each.sha[:_SHORT])} by {code(each.author)}" for each in found[:NAMED])
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return Verdict(
        False,
        RULE,
        f"Commits need a `Signed-off-by` line of their author, and lack it: {told}{more}."
        " `git rebase --signoff` adds it to your own; push them with `--force-with-lease`.",
    )


def _is_signed_off(commit: Commit) -> bool:
    address = commit.address.strip().casefold()
    return commit.is_merge or (
        bool(address) and address in {each.strip().casefold() for each in commit.signed_off_by}
    )
