"""What is proposed to a repository that has no configuration."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.config import Config, parse
from policies.proposal import Site, languages_in, presets_of, propose

PACKAGES = [f"packages/p{number}/package.json" for number in range(5)]


def proposed(site: Site, checks: list[tuple[str, str]] | None = None) -> Config:
    config = parse(propose(site, checks or []).text).config
    assert config is not None
    return config


@pytest.mark.parametrize(
    ("paths", "public", "personal", "presets"),
    [
        (["LICENSE", "a.py"], True, False, ("open-source",)),
        (["LICENSE.md", "a.py"], False, False, ()),
        (["a.py"], True, False, ()),
        (["LICENSE", "a.py"], True, True, ("solo",)),
        (PACKAGES, False, False, ("monorepo",)),
        (PACKAGES[:4], False, False, ()),
        (["COPYING", *PACKAGES], True, False, ("open-source", "monorepo")),
    ],
)
def test_the_presets_fit_who_owns_it_and_what_it_holds(
    paths: list[str], public: bool, personal: bool, presets: tuple[str, ...]
) -> None:
    site = Site(paths, public, personal)
    assert presets_of(site) == presets
    assert proposed(site).extends == presets


def test_checks_and_what_runs_in_production_are_named() -> None:
    site = Site(["a.py", "terraform/main.tf", "docs/infra/x"], is_public=False, is_personal=False)
    config = proposed(site, [("pytest", 'python3 -m pytest -k "not slow": #1')])
    assert config.checks != "auto"
    assert [(c.name, c.run) for c in config.checks] == [
        ("pytest", 'python3 -m pytest -k "not slow": #1')
    ]
    assert config.paths.protected == ("/terraform/",)
    body = propose(site, [("pytest", "x")]).body
    assert "- languages: Python\n- checks: `pytest`\n- closed to agents: `/terraform/`" in body
    assert "Nothing of it holds until you merge it" in body


def test_the_languages_of_most_files_are_named() -> None:
    paths = ["a.go", "b.go", "x/a.py", "x/b.py", "c.py", "a.ts", "b.rs", "README"]
    assert languages_in(paths) == ("Python", "Go", "Rust")


@given(st.lists(st.text(max_size=20), max_size=8), st.booleans(), st.booleans())
def test_whatever_the_files_are_called_the_proposal_can_be_read(
    paths: list[str], public: bool, personal: bool
) -> None:
    site = Site(paths, public, personal)
    assert proposed(site, [("a", "x")]).checks != "auto"
