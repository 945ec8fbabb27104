"""One module a feature: the slash command, event or schedule of that name."""
