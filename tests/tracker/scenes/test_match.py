"""The rendered match: same seed, same pixels; correct masks; constant memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tracker.scenes import DEMO_SEED, EVALUATION_SEED_START, Match, SceneFrame

SIZE = (192, 108)


def small_match(seed: int = 3, **options: object) -> Match:
    return Match(seed, *SIZE, 10.0, **options)  # type: ignore[arg-type]


def assert_same(left: SceneFrame, right: SceneFrame) -> None:
    np.testing.assert_array_equal(left.image, right.image)
    for object_id, mask in left.masks.items():
        np.testing.assert_array_equal(mask, right.masks[object_id])


def test_same_seed_gives_the_same_pixels_in_any_order() -> None:
    forward = [small_match().render(index) for index in range(4)]
    backward_match = small_match()
    backward = [backward_match.render(index) for index in reversed(range(4))]
    for left, right in zip(forward, reversed(backward), strict=True):
        assert_same(left, right)


def test_another_seed_gives_another_match() -> None:
    assert not np.array_equal(small_match(3).render(0).image, small_match(4).render(0).image)


@pytest.mark.parametrize(("width", "height"), [(640, 360), (256, 256), (101, 57), (64, 200)])
def test_any_size_is_rendered(width: int, height: int) -> None:
    frame = Match(1, width, height).render(5)
    assert frame.image.shape == (height, width, 3)
    assert frame.image.dtype == np.uint8
    assert frame.image.flags.c_contiguous
    assert all(mask.shape == (height, width) for mask in frame.masks.values())


def test_masks_boxes_and_flags_agree() -> None:
    match = small_match()
    for index in range(0, 200, 10):
        frame = match.render(index)
        assert set(frame.masks) == set(frame.boxes) == set(frame.labels) == set(match.object_ids)
        claimed = np.zeros(frame.image.shape[:2], dtype=np.int64)
        for object_id, mask in frame.masks.items():
            claimed += mask
            x0, y0, x1, y1 = frame.boxes[object_id]
            assert frame.visible[object_id] == bool(mask.any())
            assert 0.0 <= frame.visible_fraction[object_id] <= 1.0
            assert np.count_nonzero(mask) == np.count_nonzero(mask[y0:y1, x0:x1])
            if mask.any():
                assert mask[y0].any()
                assert mask[y1 - 1].any()
                assert mask[:, x0].any()
                assert mask[:, x1 - 1].any()
            else:
                assert (x0, y0, x1, y1) == (0, 0, 0, 0)
        assert claimed.max() <= 1, "a pixel belongs to one object at most"


def test_the_column_hides_players_behind_it() -> None:
    with_column = small_match(occluders=1)
    without = small_match(occluders=0)
    hidden = 0
    for index in range(0, 300, 5):
        covered, free = with_column.render(index), without.render(index)
        for object_id in with_column.object_ids:
            assert not (covered.masks[object_id] & ~free.masks[object_id]).any()
            hidden += int(free.visible[object_id] and not covered.visible[object_id])
    assert hidden > 0, "nobody ever vanished behind the column"


def test_the_nearer_player_covers_the_farther_one() -> None:
    match = small_match(occluders=0)
    seen = 0
    for index in range(0, 400, 5):
        frame = match.render(index)
        feet = {
            object_id: box[3]
            for object_id, box in frame.boxes.items()
            if object_id != match.ball_id and box[3] < SIZE[1]
        }
        for object_id, fraction in frame.visible_fraction.items():
            if object_id not in feet or not 0.05 < fraction < 0.6:
                continue
            x0, _, x1, _ = frame.boxes[object_id]
            if x0 == 0 or x1 == SIZE[0]:
                continue  # cut by the edge of the picture
            seen += 1
            assert any(
                feet[other] > feet[object_id] - 2
                for other in feet
                if other != object_id and frame.boxes[other][2] > x0 - 2
            )
    assert seen > 0, "no crossing was met"


def test_players_leave_and_return() -> None:
    match = small_match(occluders=0)
    presence = np.array([list(match.render(index).visible.values()) for index in range(0, 600, 10)])
    left = presence[:-1] & ~presence[1:]
    returned = ~presence[:-1] & presence[1:]
    assert left.any()
    assert returned.any()


def test_a_match_loops_and_runs_for_days() -> None:
    match = small_match(noise=0.0)
    loop = 1800  # frames of 180 s at 10 Hz
    assert_same(match.render(7), match.render(7 + loop))
    distant = match.render(10_000_000)
    assert any(distant.visible.values())


def test_movement_does_not_jump_where_the_loop_closes() -> None:
    match = Match(5, *SIZE, 25.0, noise=0.0)
    furthest = 0
    for index in (10, 4498, 4499, 4500):
        before, after = match.render(index), match.render(index + 1)
        for object_id in match.object_ids:
            if min(before.visible_fraction[object_id], after.visible_fraction[object_id]) > 0.9:
                step = np.abs(np.subtract(before.boxes[object_id], after.boxes[object_id])).max()
                furthest = max(furthest, int(step))
    assert 0 < furthest <= 8


def test_a_long_match_takes_no_more_memory() -> None:
    match = small_match()
    match.render(0)
    tracemalloc.start()
    for index in range(0, 1_000_000, 25_000):
        match.render(index)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 200_000


def test_rate_changes_the_sampling_not_the_match() -> None:
    slow = Match(2, *SIZE, 5.0, noise=0.0).render(10)
    fast = Match(2, *SIZE, 25.0, noise=0.0).render(50)
    assert_same(slow, fast)


def test_a_panning_camera_keeps_masks_on_the_players() -> None:
    match = small_match(pan=0.1, noise=0.0)
    still = match.render(0).image.astype(int)
    later = match.render(40).image.astype(int)
    stands = slice(0, 20)
    assert np.abs(still[stands] - later[stands]).mean() > 5, "the stands should have moved"


def test_team_mates_share_the_kit_and_have_unique_names() -> None:
    labels = small_match().labels
    assert len(set(labels.values())) == len(labels)
    assert len({label.split()[0] for label in labels.values()}) == 3  # two teams and the ball


def test_the_demo_match_has_an_evaluation_seed_and_starts_with_all_visible() -> None:
    assert DEMO_SEED >= EVALUATION_SEED_START
    frame = Match(DEMO_SEED).render(0)
    assert min(frame.visible_fraction.values()) > 0.95, "all of them can be prompted"
    x0, _, x1, _ = frame.boxes[8]
    assert x1 - x0 >= 10, "the ball is at least ten pixels wide"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 8}, "at least 32x32"),
        ({"players": 0}, "players must be between 1 and 12, got 0"),
        ({"rate_hz": 0.0}, "rate_hz must be above 0"),
    ],
)
def test_impossible_matches_are_refused(arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Match(1, **arguments)  # type: ignore[arg-type]


def test_the_layout_is_the_same_at_every_size() -> None:
    small, large = Match(9, 160, 90).render(30), Match(9, 640, 360).render(30)
    for object_id, box in small.boxes.items():
        if small.visible_fraction[object_id] > 0.95:
            np.testing.assert_allclose(np.multiply(box, 4), large.boxes[object_id], atol=9)
