"""Installing what a repository needs, contained; and what runs on that afterwards."""
