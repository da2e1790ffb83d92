"""What is followed already is not started again: boxes, masks, parts, and what lies in front."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.starters.matching import matched, without_doubles
from streamer.types import Detection
from tests.streamer.starters.things import seen, thing

MATCH_IOU = 0.3


def test_best_pairs_first_and_each_object_once() -> None:
    objects = [seen(1, (10, 30, 30, 70)), seen(2, (40, 30, 60, 70))]
    near_first, near_second = thing(13), thing(41)
    assert matched([near_second, near_first], objects, MATCH_IOU) == [2, 1]
    assert matched([thing(100)], objects, MATCH_IOU) == [None]
    assert matched([thing(5)], [], MATCH_IOU) == [None]


def test_neighbour_that_overlaps_a_little_is_a_thing_of_its_own() -> None:
    objects = [seen(1, (10, 30, 30, 70))]
    assert matched([thing(10), thing(19)], objects, MATCH_IOU) == [1, None]


def test_part_of_an_object_and_an_object_with_a_poor_mask_are_no_new_things() -> None:
    whole = [seen(7, (10, 10, 60, 90))]
    assert matched([Detection((20, 20, 40, 50))], whole, MATCH_IOU) == [7]
    only_the_roof = [seen(7, (20, 30, 40, 45))]
    assert matched([Detection((10, 20, 50, 80))], only_the_roof, MATCH_IOU) == [7]


def test_object_zero_counts_as_one() -> None:
    assert matched([Detection((20, 20, 40, 50))], [seen(0, (10, 10, 60, 90))], MATCH_IOU) == [0]


def test_thing_of_another_kind_before_an_object_is_new() -> None:
    person = [seen(1, (10, 10, 60, 90), "person")]
    ball = Detection((30, 60, 40, 70), label="sports ball")
    assert matched([ball], person, MATCH_IOU) == [None]
    tracked_ball = [seen(2, (30, 60, 40, 70), "sports ball")]
    behind = Detection((10, 10, 60, 90), label="person")
    assert matched([behind], tracked_ball, MATCH_IOU) == [None]


def test_masks_separate_objects_with_identical_boxes() -> None:
    lower = np.tri(40, 40, dtype=np.bool_)
    first = seen(1, (10, 10, 50, 50))
    object_below = type(first)(1, None, (10, 10, 50, 50), lower)
    above = Detection((10, 10, 50, 50), crop=~lower)
    assert matched([above], [object_below], MATCH_IOU) == [None]
    assert matched([Detection((10, 10, 50, 50), crop=lower)], [object_below], MATCH_IOU) == [1]


def test_thing_found_twice_is_one_whatever_it_is_called() -> None:
    car, truck = thing(10, label="car", score=0.8), thing(11, label="truck", score=0.7)
    upper_half = Detection((10, 30, 30, 50), 0.6, "car")
    kept, doubles = without_doubles([truck, car, upper_half, thing(100)])
    assert [each.label for each in kept] == [None, "car"]
    assert doubles == 2


BOX = st.tuples(st.integers(0, 150), st.integers(0, 60), st.integers(1, 50), st.integers(1, 40))


@settings(max_examples=60)
@given(st.lists(BOX, max_size=6), st.lists(BOX, max_size=6))
def test_what_is_exactly_an_object_is_never_new(
    first: list[tuple[int, ...]], second: list[tuple[int, ...]]
) -> None:
    boxes = [(x, y, x + w, y + h) for x, y, w, h in first]
    others = [Detection((x, y, x + w, y + h)) for x, y, w, h in second]
    objects = [seen(number, box) for number, box in enumerate(boxes)]
    found = matched([*map(Detection, boxes), *others], objects, MATCH_IOU)
    assert len(found) == len(boxes) + len(others)
    assert None not in found[: len(boxes)]
