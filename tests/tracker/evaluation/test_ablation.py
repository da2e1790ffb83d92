"""An ablation changes every rule once, and resumes where it was interrupted."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.tracker.evaluation.trackers import (
    BlindTracker,
    FakeSession,
    FakeTracker,
    FirstMaskTracker,
)
from tracker.evaluation import ablation_report
from tracker.evaluation.ablation import RowResult, ablation_rows, run_ablation, variants
from tracker.evaluation.clips import ClipFrame, EvaluationClip
from tracker.options import RobustOptions


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
        "without skip_absent",
        "with from_far",
        "without anchors",
        "without stride",
        "without weight",
    ]
    assert changed["without anchors"] == Techniques(anchors=0)
    assert changed["without stride"] == Techniques(stride=1)  # 0 is refused


def test_a_technique_that_is_off_takes_its_published_value() -> None:
    changed = variants(Techniques(anchors=0, stride=1))
    assert changed["with anchors 3"] == Techniques(stride=1)
    assert not any("stride" in name or "nothing" in name for name in changed)


def test_the_policy_has_a_row_for_every_rule() -> None:
    changed = variants(RobustOptions())
    technique = {name.split()[1] for name in changed}
    assert technique == {field.name for field in fields(RobustOptions)}


def test_rows_begin_with_both_policies() -> None:
    rows = ablation_rows(Techniques())
    assert [row.name for row in rows[:3]] == ["sam2", "robust", "without skip_absent"]
    assert rows[0].options == {"memory_policy": "sam2"}
    assert rows[1].options == {"memory_policy": "robust", "robust": Techniques()}


def test_finished_clips_are_not_run_again(tmp_path: Path) -> None:
    rows = ablation_rows(Techniques())[:3]
    first, second = Trackers(), Trackers()
    done = run_ablation(rows, CLIPS, first, tmp_path, "mask", "nano")
    assert len(first.made) == 3
    (tmp_path / "robust,hidden,b.json").write_text("{")  # half a file, from before
    ran: list[tuple[str, str]] = []
    again = run_ablation(
        rows,
        CLIPS,
        second,
        tmp_path,
        "mask",
        "nano",
        on_row=lambda row, clip, was_there: None if was_there else ran.append((row, clip.name)),
    )
    assert [(entry.row, entry.category) for entry in again] == [
        (entry.row, entry.category) for entry in done
    ]
    assert second.made == [rows[1].options]
    assert ran == [("robust", "b")]


def test_an_interrupted_row_resumes_with_the_missing_clip(tmp_path: Path) -> None:
    class StoppedAtB(FirstMaskTracker):
        def open_session(self) -> FakeSession:
            if self.sessions:
                raise KeyboardInterrupt
            return super().open_session()

    rows = ablation_rows(Techniques())[:1]
    with pytest.raises(KeyboardInterrupt):
        run_ablation(rows, CLIPS, lambda _: StoppedAtB(), tmp_path, "mask", "nano")
    tracker = FirstMaskTracker()
    results = run_ablation(rows, CLIPS, lambda _: tracker, tmp_path, "mask", "nano")
    assert len(tracker.sessions) == 2
    assert [entry.document["clips"][0]["name"] for entry in results] == ["a", "b", "c"]


@pytest.mark.parametrize(("changed", "label"), [({"object_ids": (1, 2)}, "a"), ({}, "b")])
def test_other_objects_or_another_model_are_run_again(
    tmp_path: Path, changed: dict[str, Any], label: str
) -> None:
    rows = ablation_rows(Techniques())[:1]
    run_ablation(rows, CLIPS[:1], Trackers(), tmp_path, "mask", "a")
    trackers = Trackers()
    run_ablation(rows, [replace(CLIPS[0], **changed)], trackers, tmp_path, "mask", label)
    assert len(trackers.made) == 1


def test_the_table_shows_the_gain_of_a_rule(tmp_path: Path) -> None:
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
    assert "without skip_absent" in text
    assert f"{-robust.mean:+.3f}" in text
    assert f"{-robust.by_category['rain']:+.3f}" in text
    assert "…" not in text
    assert json.loads(json.dumps(ablation_report.as_json(lines)))[1]["row"] == "without skip_absent"


def test_calibration_covers_the_masks_of_all_clips() -> None:
    def result(predicted: float, actual: float, count: int) -> RowResult:
        one = {"low": 0.5, "high": 0.6, "count": count, "predicted": predicted, "actual": actual}
        entry = {"mean": 0.5, "returns": [], "switched": None, "absence": None, "flicker": None}
        clips = [{"objects": [entry]}]
        found = {"count": count, "bins": [one]}
        return RowResult("robust", "hidden", {"clips": clips, "calibration": found})

    (line,) = ablation_report.headlines([result(0.5, 0.9, 10), result(0.6, 0.2, 10)])
    assert line.calibration_error == pytest.approx(0.0)
    (line,) = ablation_report.headlines([result(0.5, 0.9, 10), result(0.6, 0.6, 30)])
    assert line.calibration_error == pytest.approx(0.1)
