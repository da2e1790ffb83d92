"""While objects come and go nothing is compiled anew and nothing is left behind: by counters."""

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
# An object that leaves takes everything with it; what Python keeps of its own is far below this.
TOLERATED_BYTES = 256 * 1024


def test_objects_that_come_and_go_bring_no_new_shape_and_leave_nothing() -> None:
    found = steady_step.run(little(), FRAMES)
    assert set(found.objects) == set(range(FEWEST_OBJECTS, MOST_OBJECTS + 1))
    assert found.shapes > 0
    assert found.shapes_in_service == 0
    changes = len(found.in_use_bytes) - SETTLED_AFTER_FRAMES // CHANGE_EVERY_FRAMES
    assert changes > CHANGES_OF_A_CYCLE
    assert steady_step.growth(found.in_use_bytes) < TOLERATED_BYTES, found.in_use_bytes
    # Nothing of a step waits for Python's collector, whose pauses would be somebody's step.
    assert found.uncollected == 0


def test_a_step_is_held_against_those_with_as_many_objects() -> None:
    objects = np.array([8, 8, 8, 5, 5, 5])
    taken = np.array([80.0, 88.0, 72.0, 50.0, 50.0, 60.0])
    assert steady_step.of_their_count(taken, objects).round(2).tolist() == [
        *(1.0, 1.1, 0.9),
        *(1.0, 1.0, 1.2),
    ]


def test_growth_is_from_cycle_to_cycle() -> None:
    settled = SETTLED_AFTER_FRAMES // CHANGE_EVERY_FRAMES
    cycle = [3, 2, 1, 0, 1, 2]
    assert len(cycle) == CHANGES_OF_A_CYCLE
    as_many = [100] * settled + [10 * count for count in 3 * cycle]
    assert steady_step.growth(as_many) == 0
    assert steady_step.growth([*as_many, 30, 20, 17]) == 7
