"""Measurements for the README: `python -m tests.benchmarks`."""
