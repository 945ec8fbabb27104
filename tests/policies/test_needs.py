"""Configurations as people write them from the README's example and the schema alone.

For each need: the file, which editor and server both take, and what comes of it.
"""

from __future__ import annotations

import jsonschema_rs
import pytest
import yaml

from policies.cases import Case, parse_cases, try_cases
from policies.config import parse
from policies.schema import schema

LIBRARY = """
extends: [strict]
agent: claude
checks:
  - {name: pytest, run: python -m pytest -q --junitxml=report.xml, report: report.xml}
  - {name: ruff, run: ruff check .}
paths:
  protected: [src/mylib/_version.py, "docs/legal/**"]
merge: {method: squash}
"""
OF_LIBRARY = """
cases:
  - {name: the version, changes: [src/mylib/_version.py], expect: refused, says: _version.py}
  - {name: the terms, changes: [docs/legal/terms/eu.md], expect: refused}
  - {name: the build, changes: [pyproject.toml], expect: refused}
  - {name: the code, changes: [src/mylib/core.py, docs/index.md], expect: allowed}
  - {name: writers start nothing, command: orchestrate, role: write, expect: refused}
  - {name: maintainers do, command: orchestrate, role: maintain, expect: allowed}
"""

MONOREPO = """
extends: [monorepo]
agents:
  web: {command: claude -p}
  api: {command: ./tools/agent}
checks:
  - {name: web tests, run: npm test --workspace web}
  - {name: api tests, run: go test ./api/...}
paths:
  agents:
    web: {allowed: ["web/**"]}
    api: {allowed: ["api/**"], protected: ["api/migrations/**"]}
approval: {required: 2, code_owners: true, teams: [platform]}
commands:
  who:
    approve: {role: maintain, teams: [platform]}
"""
OF_MONOREPO = """
cases:
  - {name: web in web, agent: web, changes: [web/index.ts], expect: allowed}
  - {name: web in api, agent: web, changes: [api/main.go], expect: refused}
  - {name: api and its tables, agent: api, changes: [api/migrations/1.sql], expect: refused}
  - {name: writers do not approve, command: approve, role: write, expect: refused}
  - {name: maintainers do, command: approve, role: maintain, expect: allowed}
"""

OPEN_SOURCE = """
extends: [open-source]
trust: checks
schedule:
  - name: nightly
    cron: 0 3 * * *
    timezone: Europe/Berlin
    request: Update what is outdated and mend the lint.
freeze:
  - {name: weekend, start: "fri 18:00", end: "mon 08:00", timezone: Europe/Berlin}
limits: {usd: 2}
"""
OF_OPEN_SOURCE = """
cases:
  - {name: strangers trust nobody, command: trust, role: read, expect: refused}
  - {name: maintainers may, command: trust, role: maintain, expect: allowed}
  - {name: not who asked, command: approve, role: maintain, requester: true, expect: refused}
  - {name: the licence, changes: [LICENSE], expect: refused}
  - {name: the code, changes: [src/a.py], expect: allowed}
"""

NEEDS = {
    "a library with two checks and paths for people alone": (LIBRARY, OF_LIBRARY),
    "a monorepo with an agent for each part and its owners' word": (MONOREPO, OF_MONOREPO),
    "an open source project that lets strangers be checked": (OPEN_SOURCE, OF_OPEN_SOURCE),
}


@pytest.mark.parametrize("need", NEEDS)
def test_what_the_schema_describes_does_what_was_needed(need: str) -> None:
    text, wanted = NEEDS[need]
    assert jsonschema_rs.validator_for(schema()).is_valid(yaml.safe_load(text))
    parsed = parse(text)
    assert parsed.config is not None, parsed.problems
    cases = [each for each in parse_cases(wanted) if isinstance(each, Case)]
    assert len(cases) >= 5
    outcomes = try_cases(cases, parsed.config)
    assert [each.name for each in outcomes if not each.holds] == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("extends: strict", "`extends` must be a list, not text; write `[strict]`."),
        ("commands: {who: {aprove: maintain}}", "did you mean `approve`?"),
        ("approval: {code-owners: true}", "did you mean `code_owners`?"),
        ("approval: {teams: ['@acme/platform']}", "without the organisation: `security`."),
        ("checks: [{name: api/unit, run: x}]", "letters, digits, blanks, dots, hyphens"),
        ("schedule: [{name: n, request: x, cron: '@daily'}]", "five fields, for example"),
        ("freeze: [{name: n, start: fri 18, end: mon 8}]", "write it as `22:00`, `fri 16:00`"),
    ],
)
def test_what_a_newcomer_gets_wrong_is_told_with_what_to_write(text: str, said: str) -> None:
    assert any(said in each.message for each in parse(text).problems), parse(text).problems
