"""What a measurement was taken on, in one line."""

from __future__ import annotations

from importlib.metadata import version

from streamer import bench_report


def describe_machine() -> str:
    """What ``masklet bench`` says of the machine, and the implementation compared with."""
    return f"{bench_report.describe_machine()}, transformers {version('transformers')}"
