"""An ablation flips every technique once, and goes on where it was interrupted."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tracker.evaluation import ClipFrame, EvaluationClip, ablation_report
from tracker.evaluation.ablation import ablation_rows, run_ablation, variants

from .trackers import BlindTracker, FakeTracker, FirstMaskTracker


@dataclass(frozen=True)
class Techniques:
    """A stand-in for the options of a policy."""

    skip_absent: bool = True
    from_far: bool = False
    anchors: int = 3
    stride: int = 5
    weight: float = 0.2
    nothing: int = 0

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise ValueError("stride must be at least 1")


def clip(name: str, category: str) -> EvaluationClip:
    def frames() -> Iterator[ClipFrame]:
        for index in range(5):
            truth = np.zeros((20, 20), dtype=np.bool_)
            truth[5:10, 5 + index : 10 + index] = True
            yield ClipFrame(np.zeros((20, 20, 3), dtype=np.uint8), {1: truth})

    return EvaluationClip(name, category, (1,), 5, frames)


CLIPS = [clip("a", "hidden"), clip("b", "hidden"), clip("c", "rain")]


class Trackers:
    """Blind without ``skip_absent``; counts the trackers that were made."""

    def __init__(self) -> None:
        self.made: list[dict[str, Any]] = []

    def __call__(self, options: dict[str, Any]) -> FakeTracker:
        self.made.append(options)
        blind = "robust" in options and not options["robust"].skip_absent
        return BlindTracker() if blind else FirstMaskTracker()


def test_every_field_is_changed_once() -> None:
    changed = variants(Techniques())
    assert list(changed) == [
        "skip_absent=False",
        "from_far=True",
        "anchors=0",
        "stride=1",  # 0 is refused
        "weight=0.0",
    ]
    assert changed["anchors=0"] == Techniques(anchors=0)


def test_a_technique_that_is_off_takes_its_published_value() -> None:
    changed = variants(Techniques(anchors=0, stride=1))
    assert changed["anchors=3"] == Techniques(stride=1)
    assert not any(name.startswith(("stride", "nothing")) for name in changed)


def test_rows_begin_with_both_policies() -> None:
    rows = ablation_rows(Techniques())
    assert [row.name for row in rows[:3]] == ["sam2", "robust", "skip_absent=False"]
    assert rows[0].options == {"memory_policy": "sam2"}
    assert rows[1].options == {"memory_policy": "robust", "robust": Techniques()}


def test_finished_rows_are_not_run_again(tmp_path: Path) -> None:
    rows = ablation_rows(Techniques())[:3]
    first, second = Trackers(), Trackers()
    done = run_ablation(rows, CLIPS, first, tmp_path, "mask", "nano")
    assert len(first.made) == 3
    (tmp_path / "robust_rain.json").write_text("{")  # half a file, from before
    read: list[tuple[str, str]] = []
    again = run_ablation(
        rows,
        CLIPS,
        second,
        tmp_path,
        "mask",
        "nano",
        on_row=lambda row, category, was_there: read.append((row, category)) if was_there else None,
    )
    assert [(entry.row, entry.category) for entry in again] == [
        (entry.row, entry.category) for entry in done
    ]
    assert len(second.made) == 1
    assert len(read) == 5


@pytest.mark.parametrize(("clips", "label"), [(CLIPS[1:], "nano"), (CLIPS, "other")])
def test_other_clips_or_another_model_are_run_again(
    tmp_path: Path, clips: list[EvaluationClip], label: str
) -> None:
    rows = ablation_rows(Techniques())[:1]
    run_ablation(rows, CLIPS, Trackers(), tmp_path, "mask", "nano")
    trackers = Trackers()
    run_ablation(rows, clips, trackers, tmp_path, "mask", label)
    assert len(trackers.made) == 1


def test_the_table_shows_what_a_technique_is_worth(tmp_path: Path) -> None:
    rows = ablation_rows(Techniques())[1:3]
    lines = ablation_report.headlines(
        run_ablation(rows, CLIPS, Trackers(), tmp_path, "mask", "nano")
    )
    robust, without = lines
    assert without.mean == 0.0
    assert list(robust.by_category) == ["hidden", "rain"]
    console = Console(width=80, record=True, file=io.StringIO())
    for table in ablation_report.tables(lines, "an ablation"):
        console.print(table)
    text = console.export_text()
    assert "skip_absent=False" in text
    assert f"{-robust.mean:+.3f}" in text
    assert f"{-robust.by_category['rain']:+.3f}" in text
    assert "…" not in text
    assert json.loads(json.dumps(ablation_report.as_json(lines)))[1]["row"] == "skip_absent=False"
