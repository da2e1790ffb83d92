"""Measurements of speed, latency and memory: ``python -m benchmarks --help``."""
