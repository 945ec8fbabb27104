"""The JSON Schema of `.github/orchestrate.yml`, which editors complete and check with."""

from __future__ import annotations

import json
import sys
from typing import Any

from policies.config import PATH, Config

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """Return the schema as a new dictionary."""
    return {"$schema": DIALECT, **Config.model_json_schema(), "title": f"Orchestrate: {PATH}"}


def schema_text() -> str:
    """Return the schema as it stands in `orchestrate.schema.json`."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(schema_text())
