"""The repository's own checks: found, run in the sandbox, and their reports read."""
