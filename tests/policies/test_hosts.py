from __future__ import annotations

import pytest

from policies.hosts import allows


@pytest.mark.parametrize(
    ("pattern", "asked", "allowed"),
    [
        ("registry.example", "registry.example", True),
        ("registry.example", "Registry.example", True),
        ("registry.example", "registry.example:443", True),
        ("registry.example", "registry.example:8443", False),
        ("registry.example:443", "registry.example", False),
        ("registry.example:8443", "registry.example:8443", True),
        ("registry.example", "evil-registry.example", False),
        ("registry.example", "a.registry.example", False),
        ("*.example.org", "a.example.org", True),
        ("*.example.org", "a.b.example.org", True),
        ("*.example.org", "example.org", False),
        ("*.example.org", "badexample.org", False),
        ("*.example.org", "*.example.org", True),
        ("*.example.org", "*.a.example.org", True),
        ("a.example.org", "*.example.org", False),
        ("*.a.example.org", "*.example.org", False),
        ("*.example.org:8443", "a.example.org:8443", True),
        ("*.example.org:8443", "a.example.org", False),
    ],
)
def test_a_host_is_allowed_as_far_as_it_is_written(pattern: str, asked: str, allowed: bool) -> None:
    assert allows(pattern, asked) is allowed
