"""Where untrusted programs run: one job at a time, with nothing but what the job names."""
