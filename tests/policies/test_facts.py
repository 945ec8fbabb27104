from __future__ import annotations

import pytest

from policies.facts import Role


@pytest.mark.parametrize("role", list(Role))
def test_a_role_includes_itself_and_all_before_it(role: Role) -> None:
    order = list(Role)
    assert [other for other in order if role.at_least(other)] == order[: order.index(role) + 1]


def test_roles_are_ordered_as_github_orders_them() -> None:
    assert [str(role) for role in Role] == ["none", "read", "triage", "write", "maintain", "admin"]
