"""Measurements: programs to run by hand or by `scripts/bench`."""
