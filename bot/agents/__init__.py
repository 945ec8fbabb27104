"""Programs that change a workspace, each given one prompt a turn."""
