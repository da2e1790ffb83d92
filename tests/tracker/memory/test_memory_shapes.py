"""Which objects look at their memories together."""

from __future__ import annotations

import numpy as np
import pytest

from tracker.memory.shapes import MemoryShape, MemoryShapes, groups_of

SHAPES = MemoryShapes.of(6, 15, 4)


@pytest.mark.parametrize("shapes", [SHAPES, None])
def test_every_row_is_in_one_group_that_holds_it_and_groups_keep_the_order(
    shapes: MemoryShapes | None,
) -> None:
    generator = np.random.default_rng(0)
    for _ in range(50):
        count = int(generator.integers(1, 40))
        frames, pointers = generator.integers(1, 11, count), generator.integers(1, 20, count)
        groups = groups_of(frames, pointers, shapes)
        rows = np.concatenate([row_R for _, row_R in groups])
        assert sorted(rows.tolist()) == list(range(count))
        firsts = [int(row_R[0]) for _, row_R in groups]
        assert firsts == sorted(firsts)
        for shape, row_R in groups:
            assert row_R.tolist() == sorted(row_R.tolist())
            fits = (frames[row_R] <= shape.frames) & (pointers[row_R] <= shape.pointers)
            assert fits.all()
            exact = (frames[row_R] == shape.frames) & (pointers[row_R] == shape.pointers)
            assert shape.masked or exact.all()


def test_new_objects_that_remember_unlike_much_are_one_group() -> None:
    frames, pointers = np.array([1, 7, 2, 7, 1]), np.array([1, 16, 2, 16, 1])
    (padded, new), (steady, full) = groups_of(frames, pointers, SHAPES)
    assert (padded, new.tolist()) == (MemoryShape(7, 16, masked=True), [0, 2, 4])
    assert (steady, full.tolist()) == (MemoryShape(7, 16, masked=False), [1, 3])
