"""Means over objects cover each measure where it exists."""

from __future__ import annotations

from typing import Any

import pytest

from tracker.evaluation.absence import Absence, Return
from tracker.evaluation.box_measures import BoxScore
from tracker.evaluation.runner import ClipScore
from tracker.evaluation.series import ObjectScore
from tracker.evaluation.summary import by_category, by_size, reacquired, summarise


def entry(**values: Any) -> ObjectScore:
    given: dict[str, Any] = {"jaccard": None, "boundary_f": None, "returned": None} | values
    return ObjectScore("clip", "any", 1, **given)


def clip(*objects: ObjectScore, category: str = "any", tracked: int = 10) -> ClipScore:
    return ClipScore("clip", category, objects, 0.01, frames=10, tracked_frames=tracked)


def test_only_decided_returns_after_at_most_a_hundred_frames_count() -> None:
    found, late = Return(20, 3, 30), Return(20, 11, 30)
    missed, undecided = Return(100, None, 30), Return(20, None, 8)
    long_gone = Return(101, 0, 30)
    assert reacquired([found, late, missed, undecided, long_gone]) == pytest.approx(1 / 3)
    assert reacquired([undecided, long_gone]) is None


def test_means_skip_missing_measurements() -> None:
    summary = summarise(
        [
            clip(
                entry(jaccard=0.4, boundary_f=0.6, switched=True, flicker=0.2),
                entry(jaccard=0.8, boundary_f=1.0, absence=Absence(5, 0.4, 1.0)),
            ),
            clip(entry(box=BoxScore(0.5, 0.7, 0.6, ())), tracked=5),
        ],
        identity=False,
    )
    assert summary["objects"] == 3
    assert summary["mean"] == pytest.approx((0.5 + 0.9) / 2)
    assert summary["switched"] == 1.0
    assert summary["false_area"] == 1.0
    assert summary["success_auc"] == 0.5
    assert summary["tracked"] == 0.75
    assert summary["hota"] is None
    assert summary["reacquired"] is None


def test_things_of_photographs_are_grouped_by_size() -> None:
    photograph = ClipScore(
        "photograph",
        "any",
        tuple(
            entry(jaccard=j, area_share=share) for j, share in ((0.2, 0.005), (0.6, 0.2), (1, 1))
        ),
        0.01,
        still=True,
    )
    video = clip(entry(jaccard=0.1, area_share=0.05))
    assert by_size([photograph, video]) == {
        "under 1 %": {"objects": 1, "jaccard": pytest.approx(0.2)},
        "over 10 %": {"objects": 2, "jaccard": pytest.approx(0.8)},
    }


def test_the_median_time_to_find_an_object_covers_all_found() -> None:
    summary = summarise(
        [clip(entry(returns=(Return(200, 2, 9), Return(9, 8, 9), Return(9, None, 9))))],
        identity=False,
    )
    assert summary["returns"] == 3
    assert summary["reacquire_frames"] == 5.0


def test_categories_are_summarised_separately() -> None:
    groups = by_category(
        [clip(entry(flicker=0.1), category="b"), clip(entry(flicker=0.3), category="a")],
        identity=False,
    )
    assert {name: summary["flicker"] for name, summary in groups.items()} == {"b": 0.1, "a": 0.3}
    assert list(groups) == ["b", "a"]


def test_no_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="no object was scored"):
        summarise([])
