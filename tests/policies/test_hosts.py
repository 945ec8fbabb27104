from __future__ import annotations

import pytest

from policies.hosts import allows


@pytest.mark.parametrize(
    ("pattern", "asked", "allowed"),
    [
        ("pypi.org", "pypi.org", True),
        ("pypi.org", "PyPI.org", True),
        ("pypi.org", "pypi.org:443", True),
        ("pypi.org", "pypi.org:8443", False),
        ("pypi.org:443", "pypi.org", False),
        ("pypi.org:8443", "pypi.org:8443", True),
        ("pypi.org", "evil-pypi.org", False),
        ("pypi.org", "a.pypi.org", False),
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
