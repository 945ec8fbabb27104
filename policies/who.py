"""Which command needs which role, before a repository's configuration says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from policies.facts import Role

COMMANDS_DEFAULT: Mapping[str, Role] = MappingProxyType(
    {
        "orchestrate": Role.WRITE,
        "approve": Role.MAINTAIN,
        "reject": Role.MAINTAIN,
        "resume": Role.WRITE,
        "pause": Role.WRITE,
        "cancel": Role.WRITE,
        "rollback": Role.WRITE,
        "undo": Role.WRITE,
        "retry": Role.WRITE,
        "override": Role.MAINTAIN,
        "take": Role.WRITE,
        "give": Role.WRITE,
        "tell": Role.WRITE,
        "update": Role.WRITE,
        "trust": Role.MAINTAIN,
        "delegate": Role.MAINTAIN,
        "undelegate": Role.MAINTAIN,
        "hold": Role.WRITE,
        "unhold": Role.WRITE,
        "status": Role.READ,
        "plan": Role.READ,
        "diff": Role.READ,
        "help": Role.READ,
    }
)

# These end in a merge or set a check aside: GitHub asks for write to merge, and a lesser
# role must not come by it through us.
DECISIONS = frozenset(
    {"approve", "reject", "override", "trust", "delegate", "undelegate", "unhold"}
)

# Who was given a right by somebody cannot hand it on: who may decide stays with those whom the
# configuration names.
NOT_DELEGATED = frozenset({"delegate", "undelegate", "trust"})


def floor(command: str) -> Role:
    """Return the least role for `command`, whoever is named beside the role it asks for.

    Anybody on GitHub has read on a public repository, so read may never start or steer a run.
    """
    if COMMANDS_DEFAULT[command] is Role.READ:
        return Role.NONE
    return Role.WRITE if command in DECISIONS else Role.TRIAGE
