"""Measurements for the README: `python -m benchmarks`."""
