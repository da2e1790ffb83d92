"""The lifecycle of objects, from their tracks on each frame."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from streamer.inference.lifecycle import LifecycleRules, ObjectLifecycle
from streamer.runtime.clock import seconds_to_ns
from tests.streamer.fakes import track
from tracker import Track, TrackState

IMAGE = np.zeros((24, 32, 3), dtype=np.uint8)
RULES = LifecycleRules(occluded_to_lost_ns=seconds_to_ns(5.0))
SECOND = seconds_to_ns(1.0)


class Life:
    """Drives one object through seconds."""

    def __init__(self, **rules: object) -> None:
        self.lifecycle = ObjectLifecycle(replace(RULES, **rules))  # type: ignore[arg-type]
        self.reasons: list[str | None] = []
        self.absences_s: list[float | None] = []

    def at(self, time_s: float, *, hidden: bool) -> tuple[TrackState, list[str]]:
        return self.sees(time_s, track(7, IMAGE, hidden))

    def sees(
        self, time_s: float, seen: Track, *, prompted: bool = False, scene_cut: bool = False
    ) -> tuple[TrackState, list[str]]:
        tracks, changes = self.lifecycle.observe(
            [seen], seconds_to_ns(time_s), prompted={7} if prompted else (), scene_cut=scene_cut
        )
        assert all(change.object_id == 7 for change in changes)
        self.reasons += [change.reason for change in changes]
        self.absences_s += [
            None if each.absent_ns is None else each.absent_ns / SECOND for each in changes
        ]
        self.shown = tracks[0] if tracks else None
        state = tracks[0].state if tracks else TrackState.LOST
        return state, [str(change.kind) for change in changes]


def found(
    box: tuple[int, int, int, int] = (10, 10, 14, 14),
    *,
    score: float = 1.0,
    similarity: float | None = None,
) -> Track:
    """A track of a full box; an empty one is hidden."""
    area = (box[2] - box[0]) * (box[3] - box[1])
    return replace(
        track(7, IMAGE, hidden=area == 0),
        box_xyxy=box,
        crop=np.ones((box[3] - box[1], box[2] - box[0]), dtype=np.bool_),
        area=area,
        object_score=score,
        pointer_similarity=similarity,
    )


NOTHING = (0, 0, 0, 0)


def test_object_is_added_hidden_found_and_lost() -> None:
    life = Life()
    assert life.at(0, hidden=False) == (TrackState.VISIBLE, ["added"])
    assert life.at(1, hidden=False) == (TrackState.VISIBLE, [])
    assert life.at(2, hidden=True) == (TrackState.OCCLUDED, ["occluded"])
    assert life.at(6.9, hidden=True) == (TrackState.OCCLUDED, [])
    assert life.at(7, hidden=False) == (TrackState.VISIBLE, ["reacquired"])
    assert life.at(8, hidden=True) == (TrackState.OCCLUDED, ["occluded"])
    assert life.at(13, hidden=True) == (TrackState.LOST, ["lost"])
    assert life.at(99, hidden=True) == (TrackState.LOST, [])
    assert life.at(100, hidden=False) == (TrackState.VISIBLE, ["reacquired"])
    assert life.absences_s == [None, None, 5.0, None, 5.0, 92.0]


def test_object_that_is_hidden_at_first_is_added_and_then_occluded() -> None:
    assert Life().at(0, hidden=True) == (TrackState.OCCLUDED, ["added", "occluded"])


def test_flicker_is_no_event_and_each_frame_reports_visibility() -> None:
    life = Life(occluded_after_frames=3, reacquired_after_frames=2)
    pattern = "vhhvhhvhhh hvhvhvv v"
    reported = []
    for number, seen in enumerate(pattern.replace(" ", "")):
        state, events = life.at(number / 25, hidden=seen == "h")
        assert (state is TrackState.VISIBLE) == (seen == "v")
        reported += [(number, event) for event in events]
    assert reported == [(0, "added"), (9, "occluded"), (16, "reacquired")]
    # Hidden from frame 7 on, back for good from 15 on.
    assert life.absences_s[-1] == pytest.approx(8 / 25)


def test_events_wait_for_as_long_as_is_asked() -> None:
    life = Life(occluded_after_ns=SECOND, reacquired_after_ns=2 * SECOND)
    life.at(0, hidden=False)
    assert life.at(1, hidden=True)[1] == []
    assert life.at(1.9, hidden=True)[1] == []
    assert life.at(2, hidden=True)[1] == ["occluded"]
    assert life.at(3, hidden=False) == (TrackState.VISIBLE, [])
    assert life.at(4.9, hidden=False)[1] == []
    assert life.at(5, hidden=False)[1] == ["reacquired"]
    assert life.absences_s[-1] == 2.0


def test_lost_object_that_flickers_stays_lost() -> None:
    life = Life(reacquired_after_frames=2)
    life.at(0, hidden=False)
    life.at(1, hidden=True)
    assert life.at(6, hidden=True)[1] == ["lost"]
    assert life.at(7, hidden=False) == (TrackState.VISIBLE, [])
    assert life.at(8, hidden=True) == (TrackState.LOST, [])


def test_object_that_was_lost_for_too_long_is_removed_once() -> None:
    life = Life(lost_to_removed_ns=10 * SECOND)
    life.at(0, hidden=False)
    life.at(1, hidden=True)
    assert life.at(6, hidden=True)[1] == ["lost"]
    assert life.at(15.9, hidden=True)[1] == []
    assert life.at(16, hidden=True)[1] == ["removed"]
    assert life.shown is None
    assert (life.reasons[-1], life.absences_s[-1]) == ("lost_too_long", 15.0)
    life.lifecycle.forget(7)
    assert len(life.lifecycle) == 0


@pytest.mark.parametrize(
    ("before", "gone", "scene_cut", "reason"),
    [
        (found(), found(NOTHING, score=0.1), False, "score"),
        (found(), found(NOTHING, score=0.9), False, "empty_mask"),
        (found(), found((0, 0, 32, 24)), False, "full_frame"),
        (found((26, 8, 32, 14)), found(NOTHING, score=0.1), False, "left_picture"),
        (found((3, 0, 9, 14)), found(NOTHING, score=0.1), False, "left_picture"),
        (found(), found(NOTHING, score=0.1), True, "scene_cut"),
    ],
)
def test_occlusion_reports_its_reason(
    before: Track, gone: Track, scene_cut: bool, reason: str
) -> None:
    life = Life(occluded_after_frames=2)
    life.sees(0, before)
    life.sees(1, gone, scene_cut=scene_cut)
    assert life.sees(2, found(NOTHING, score=0.9)) == (TrackState.OCCLUDED, ["occluded"])
    assert life.sees(7, gone) == (TrackState.LOST, ["lost"])
    assert life.reasons == [None, reason, reason]


def test_mask_of_the_whole_picture_is_nothing_unless_the_object_was_large() -> None:
    life = Life()
    life.sees(0, found())
    life.sees(1, found((0, 0, 32, 24)))
    assert life.shown is not None
    assert (life.shown.area, life.shown.crop.size, life.shown.box_xyxy) == (0, 0, NOTHING)
    close = Life()
    close.sees(0, found((4, 4, 28, 24)))
    assert close.sees(1, found((0, 0, 32, 24)))[0] is TrackState.VISIBLE


def test_reacquired_object_must_resemble_the_lost_one() -> None:
    life = Life(least_similarity=0.6)
    life.sees(0, found())
    assert life.sees(1, found(similarity=0.1))[0] is TrackState.VISIBLE  # it never went away
    assert life.sees(2, found(NOTHING))[1] == ["occluded"]
    assert life.sees(3, found(similarity=0.59)) == (TrackState.OCCLUDED, [])
    assert life.shown is not None
    assert life.shown.area == 0
    assert life.sees(7, found(similarity=0.59)) == (TrackState.LOST, ["lost"])
    assert life.sees(8, found(similarity=0.61)) == (TrackState.VISIBLE, ["reacquired"])
    assert life.reasons == [None, "empty_mask", "empty_mask", None]


def test_prompted_object_is_reacquired_at_once() -> None:
    life = Life(least_similarity=0.6, reacquired_after_frames=5)
    life.sees(0, found())
    life.sees(1, found(NOTHING))
    shown = life.sees(2, found(similarity=-0.5), prompted=True)
    assert shown == (TrackState.VISIBLE, ["reacquired"])
    assert (life.reasons[-1], life.absences_s[-1]) == ("prompted", 1.0)


def test_lost_objects_are_searched_for_in_turns_until_one_is_seen() -> None:
    lifecycle = ObjectLifecycle(replace(RULES, lost_search_every=4, reacquired_after_frames=3))
    ids = range(8)
    for time_s, hidden in [(0, False), (1, True), (6, True)]:
        lifecycle.observe([track(i, IMAGE, hidden) for i in ids], seconds_to_ns(time_s))
    searched = dict.fromkeys(ids, 0)
    for number in range(12):
        idle = lifecycle.idle()
        assert len(idle) == 6  # of eight lost objects two are due
        for object_id in set(ids) - idle:
            searched[object_id] += 1
        lifecycle.observe([track(i, IMAGE, True) for i in ids], seconds_to_ns(7 + number))
    assert set(searched.values()) == {3}
    lifecycle.observe([track(i, IMAGE, i != 5) for i in ids], seconds_to_ns(20))
    assert 5 not in lifecycle.idle()


def test_hour_without_pictures_does_not_make_an_object_lost() -> None:
    life = Life()
    life.at(0, hidden=False)
    life.at(1, hidden=True)
    life.lifecycle.resume(seconds_to_ns(3600))
    assert life.at(3600, hidden=True) == (TrackState.OCCLUDED, [])
    assert life.at(3605, hidden=True) == (TrackState.LOST, ["lost"])


def test_clock_that_goes_back_loses_nothing_early() -> None:
    life = Life()
    life.at(100, hidden=False)
    life.at(101, hidden=True)
    assert life.at(0, hidden=True) == (TrackState.OCCLUDED, [])
    assert life.at(4.9, hidden=True) == (TrackState.OCCLUDED, [])
    assert life.at(5, hidden=True) == (TrackState.LOST, ["lost"])


@pytest.mark.parametrize("hidden", [False, True])
def test_forgotten_object_is_added_again(hidden: bool) -> None:
    life = Life()
    life.at(0, hidden=hidden)
    life.lifecycle.forget(7)
    assert life.at(1, hidden=False)[1] == ["added"]


def test_object_is_not_removed_by_the_prompt_that_shows_it() -> None:
    life = Life(lost_to_removed_ns=0)
    life.at(0, hidden=False)
    life.at(1, hidden=True)
    assert life.at(6, hidden=True) == (TrackState.LOST, ["lost"])
    # Prompted where it was a moment ago; on the newest frame it is hidden still.
    assert life.sees(6, found(NOTHING), prompted=True) == (TrackState.LOST, [])
    assert life.at(6.1, hidden=True) == (TrackState.LOST, ["removed"])
