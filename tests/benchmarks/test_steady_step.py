"""Counters of the steady benchmark: no new shapes and no leaks while objects come and go."""

from __future__ import annotations

import numpy as np

from benchmarks import steady_step
from benchmarks.steady_step import CHANGES_OF_A_CYCLE
from benchmarks.steady_streams import (
    CHANGE_EVERY_FRAMES,
    FEWEST_OBJECTS,
    MOST_OBJECTS,
    SETTLED_AFTER_FRAMES,
    little,
)

FRAMES = 400
# A removed object frees everything; Python's own caches are far below this.
TOLERATED_BYTES = 256 * 1024


def test_coming_and_going_objects_bring_no_new_shape_and_leak_nothing() -> None:
    found = steady_step.run(little(), FRAMES)
    assert set(found.objects) == set(range(FEWEST_OBJECTS, MOST_OBJECTS + 1))
    assert found.shapes > 0
    assert found.shapes_in_service == 0
    changes = len(found.in_use_bytes) - SETTLED_AFTER_FRAMES // CHANGE_EVERY_FRAMES
    assert changes > CHANGES_OF_A_CYCLE
    assert steady_step.growth(found.in_use_bytes) < TOLERATED_BYTES, found.in_use_bytes
    # No object of a step needs Python's garbage collector, whose pauses would delay a step.
    assert found.uncollected == 0


def test_a_step_is_compared_with_those_of_as_many_objects() -> None:
    objects = np.array([8, 8, 8, 5, 5, 5])
    taken = np.array([80.0, 88.0, 72.0, 50.0, 50.0, 60.0])
    assert steady_step.of_their_count(taken, objects).round(2).tolist() == [
        *(1.0, 1.1, 0.9),
        *(1.0, 1.0, 1.2),
    ]


def test_growth_is_measured_from_cycle_to_cycle() -> None:
    settled = SETTLED_AFTER_FRAMES // CHANGE_EVERY_FRAMES
    cycle = [3, 2, 1, 0, 1, 2]
    assert len(cycle) == CHANGES_OF_A_CYCLE
    as_many = [100] * settled + [10 * count for count in 3 * cycle]
    assert steady_step.growth(as_many) == 0
    assert steady_step.growth([*as_many, 30, 20, 17]) == 7
