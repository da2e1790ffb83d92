"""The machine of a measurement, in one line."""

from __future__ import annotations

from importlib.metadata import version

import torch

from streamer.cli.bench import report as bench_report


def describe_machine() -> str:
    """The description of ``masklet bench``, and the version of transformers."""
    described = bench_report.describe_machine(torch.get_num_threads())
    return f"{described}, transformers {version('transformers')}"
