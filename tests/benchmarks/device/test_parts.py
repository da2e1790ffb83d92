"""A rehearsal: the parts run on a processor at tiny sizes, and end in one table.

The others take longer or call whole programs; `python -m benchmarks.device OUT --rehearse` runs
those too.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.device.goals import GOALS, table
from benchmarks.device.parts import file_of, named, run_here
from benchmarks.device.record import Record, read
from benchmarks.device.report import report
from benchmarks.device.scale import DEVICE, REHEARSAL


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("machine", "product"),
        ("kernels", "math self 1 rows"),
        ("calls", "begin_memory 1 32x4x4"),
        ("steps", "tiny robust 1 objects 1 streams"),
        ("profile", "sam2 16 objects 1 streams"),
        ("switches", "as it is"),
    ],
)
def test_part_measures_and_does_not_measure_again(name: str, key: str, tmp_path: Path) -> None:
    part = named(name)
    run_here(part, REHEARSAL, tmp_path)
    found = read(file_of(tmp_path, part))
    assert not [each for each in found.values() if "failed" in each]
    assert found[key].get("refused") is None
    before = file_of(tmp_path, part).read_text()
    run_here(part, REHEARSAL, tmp_path)
    assert file_of(tmp_path, part).read_text() == before
    assert f"- **{key}**" in report(tmp_path)


def test_table_says_what_was_reached_and_what_the_arithmetic_allows() -> None:
    """Figures of a device that computes 790 TFLOP/s."""
    cells = {
        1: {"prepared": {"median_ms": 3.2, "p99_ms": 3.6}, "ahead": {"median_ms": 3.0}},
        16: {"prepared": {"median_ms": 20.0}},
    }
    steps = {
        f"tiny robust {objects} objects 1 streams": {**cell, "in_service": 0}
        for objects, cell in cells.items()
    }
    lines = table(
        {
            "machine": {"product": {"tflops": 790.0}},
            "steps": steps,
            "rivals": {"official-compiled tiny-1024-1-1": {"device": {"median_ms": 8.0}}},
            "daemon": {"bench": {"cells": [{"streams": 8, "latency_p99_ms": 31.0}]}},
        }
    ).splitlines()
    rows = {line.split(" | ")[0].strip("| "): line for line in lines}
    assert "312.5/s ✓ | not measured | 865/s" in rows["tiny, 1 object"]
    assert "333.3/s ✗" in rows["the same, submitted ahead"]
    assert "2.5 ✓" in rows["times Meta's compiled predictor"]
    assert "1.12 ms ✓ | not measured | 0.786 ms" in rows["each further object"]
    assert "1.125 ✓" in rows["p99 / p50 of a step"]
    assert "31 ms ✗" in rows["capture to subscriber, p99, 8 streams"]
    assert len(lines) == 2 + len(GOALS)


def test_cells_of_the_goals_come_first() -> None:
    assert DEVICE.cells()[:5] == [(1, 1), (4, 1), (4, 4), (16, 1), (16, 16)]
    assert len(DEVICE.cells()) == 9


def test_report_says_which_part_has_results_that_failed(tmp_path: Path) -> None:
    part = named("daemon")
    Record(tmp_path / "progress.jsonl").add(part.name, rc=0, seconds=3.0)
    Record(file_of(tmp_path, part)).add("bench", failed="no port is free")
    assert "## daemon: complete, 3 s, 1 of its results failed" in report(tmp_path)
