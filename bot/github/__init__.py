"""GitHub: the one place that knows githubkit. A run's view, how it is drawn, and what is read."""
