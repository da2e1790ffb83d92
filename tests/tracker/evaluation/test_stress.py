"""The stress suite follows its table, and effects transform the ground truth too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tracker.evaluation import effects, stagings
from tracker.evaluation.clips import ClipFrame, EvaluationClip
from tracker.evaluation.effects import with_effects
from tracker.evaluation.stress import REPORTED_SEED, STEPS, TUNING_SEED, stress_clips
from tracker.scenes import EVALUATION_SEED_START

SMALL = (160, 90)


def grid_clip(count: int = 6) -> EvaluationClip:
    """A bright square on a dark ground; its truth follows from its pixels."""

    def frames() -> Iterator[ClipFrame]:
        for _ in range(count):
            image = np.full((40, 60, 3), 10, dtype=np.uint8)
            image[10:20, 30:40] = 200
            yield ClipFrame(image, {1: image[:, :, 0] > 100}, others={7: image[:, :, 0] > 100})

    return EvaluationClip("a", "b", (1,), count, frames)


def test_seeds_for_tuning_and_reports_are_disjoint() -> None:
    assert EVALUATION_SEED_START < TUNING_SEED
    # Twice: the scene of a cut has a seed of its own, 500 on.
    assert TUNING_SEED + len(STEPS) + 500 < REPORTED_SEED


def test_the_short_suite_is_a_part_of_the_full_one() -> None:
    short = [(clip.category, clip.name) for clip in stress_clips("reported", "short", *SMALL)]
    full = [(clip.category, clip.name) for clip in stress_clips("reported", "full", *SMALL)]
    assert set(short) < set(full)
    assert len(set(full)) == len(full) == len(STEPS)
    assert {category for category, _ in short} == {category for category, _ in full}


@pytest.mark.parametrize("split", ["tuning", "reported"])
def test_every_clip_begins_with_its_objects(split: str) -> None:
    for clip in stress_clips(split, "short", *SMALL):
        first = next(clip.open())
        assert tuple(first.truth) == clip.object_ids
        assert all(mask.any() for mask in first.truth.values())


@pytest.mark.parametrize("frames", [5, 40])
@pytest.mark.parametrize("seed", [3, 4, 5])
def test_hidden_objects_are_hidden_for_the_stated_time(frames: int, seed: int) -> None:
    staging = stagings.occlusion(seed, frames, *SMALL)
    seen = [staging.scene.render(index).visible[1] for index in range(staging.frame_count)]
    gone = np.flatnonzero(~np.array(seen))
    assert frames - 3 <= len(gone) <= frames + 8
    assert np.all(np.diff(gone) == 1)
    assert all(seen[-20:])


def test_leaving_objects_return_on_the_other_side() -> None:
    staging = stagings.re_entry(8, 15, *SMALL)
    boxes = [staging.scene.render(index).boxes[1] for index in range(staging.frame_count)]
    seen = np.array([box[2] > box[0] for box in boxes])
    gone = np.flatnonzero(~seen)
    left, back = boxes[gone[0] - 1], boxes[gone[-1] + 1]
    assert 12 <= len(gone) <= 30
    assert (left[0] < 40) != (back[0] < 40)


def test_doubles_meet_and_look_the_same() -> None:
    staging = stagings.look_alikes(2, 1, *SMALL)
    frames = [staging.scene.render(index) for index in range(staging.frame_count)]
    assert min(min(frame.visible_fraction[key] for key in (1, 2)) for frame in frames) < 0.75
    labels = list(staging.scene.labels.values())
    assert len({label.split()[0] for label in labels}) == 1


def test_a_fast_ball_stays_small_and_goes_far() -> None:
    staging = stagings.small_ball(1, 0.036, 0.10, 640, 360)
    ball = staging.object_ids[0]
    middles = []
    for index in range(staging.frame_count):
        x0, _, x1, _ = staging.scene.render(index).boxes[ball]
        assert x1 - x0 <= 15
        middles.append((x0 + x1) / 2)
    assert 30 < np.abs(np.diff(middles)).max() < 40


def test_shaking_moves_picture_and_truth_together() -> None:
    places = set()
    for frame in with_effects(grid_clip(20), [effects.shake(1, 4.0)]).open():
        np.testing.assert_array_equal(frame.truth[1], frame.image[:, :, 0] > 100)
        np.testing.assert_array_equal(frame.others[7], frame.truth[1])
        places.add(tuple(np.argwhere(frame.truth[1])[0]))
    assert len(places) > 5


def test_a_cut_shows_another_scene_without_the_tracked_objects() -> None:
    clip = with_effects(grid_clip(), [effects.scene_cut(grid_clip(), 2, 3)])
    frames = list(clip.open())
    assert [bool(frame.truth[1].any()) for frame in frames] == [
        True,
        True,
        False,
        False,
        False,
        True,
    ]
    assert all(mask.any() for mask in frames[2].others.values())


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.7])
def test_the_share_of_lost_frames_is_exact_and_the_first_arrives(share: float) -> None:
    lost = effects.lost_frames(9, share, 50)
    assert lost.sum() == round(50 * share)
    assert not lost[0]


def test_arriving_frames_report_the_number_lost() -> None:
    lost = np.array([False, True, True, False, True, False])
    clip = with_effects(grid_clip(), [effects.dropped(lost)], 3)
    assert [frame.missed for frame in clip.open()] == [0, 2, 1]
    with pytest.raises(ValueError, match=r"must be 0\.\.0\.95, got 1"):
        effects.lost_frames(1, 1.0, 10)


def test_compression_and_rain_change_the_picture_only() -> None:
    for effect in (effects.compressed(5), effects.rain(1, 60)):
        (before, after) = (next(grid_clip().open()), next(effect(grid_clip().open())))
        assert after.image.shape == before.image.shape
        assert (after.image != before.image).mean() > 0.1
        np.testing.assert_array_equal(after.truth[1], before.truth[1])


def test_effects_combine_and_repeat_exactly() -> None:
    layers = [effects.shake(3, 4.0), effects.rain(3, 20), effects.compressed(20)]
    clip = with_effects(grid_clip(), layers)
    for first, second in zip(clip.open(), clip.open(), strict=True):
        np.testing.assert_array_equal(first.image, second.image)
