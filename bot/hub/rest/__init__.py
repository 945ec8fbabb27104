"""GitHub's REST under /api/v3: one module a resource, each a table of routes."""
