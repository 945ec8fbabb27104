"""The kernel and the adapters of Orchestrate."""
