"""Records as GitHub's JSON: one module a kind of thing. Nothing here changes anything."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
