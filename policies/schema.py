"""The JSON Schema of `.github/orchestrate.yml`, which editors complete and check with."""

from __future__ import annotations

import json
import sys
from typing import Any

from policies.config import PATH, Config
from policies.organisation import PATH as ORGANISATION_PATH
from policies.organisation import REPOSITORY, Organisation

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Return the schema as a new dictionary."""
    return {"$schema": DIALECT, **Config.model_json_schema(), "title": f"Orchestrate: {PATH}"}


def organisation_schema() -> dict[str, Any]:
    """Return the schema of an organisation's `orchestrate.yml`: no schedules, but bounds."""
    made = Organisation.model_json_schema()
    del made["properties"]["schedule"]
    return {"$schema": DIALECT, **made, "title": f"Orchestrate: {REPOSITORY}/{ORGANISATION_PATH}"}


def schema_text(*, organisation: bool = False) -> str:
    """Return the schema as it stands in `orchestrate.schema.json`, or that of an organisation."""
    made = organisation_schema() if organisation else schema()
    return json.dumps(made, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
