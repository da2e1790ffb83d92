"""J and F against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker.evaluation.measures import boundary, boundary_f, dilate, jaccard


def rectangle(y0: int, y1: int, x0: int, x1: int, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    mask = np.zeros(shape, dtype=np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


EMPTY = rectangle(0, 0, 0, 0)


def test_jaccard_of_overlapping_rectangles() -> None:
    # 10x10 and 10x10, shifted by 5: 50 shared of 150.
    assert jaccard(rectangle(10, 20, 10, 20), rectangle(10, 20, 15, 25)) == pytest.approx(1 / 3)


def test_empty_masks() -> None:
    square = rectangle(10, 20, 10, 20)
    assert jaccard(EMPTY, EMPTY) == 1.0
    assert boundary_f(EMPTY, EMPTY) == 1.0
    for pair in ((EMPTY, square), (square, EMPTY)):
        assert jaccard(*pair) == 0.0
        assert boundary_f(*pair) == 0.0


def test_boundary_lies_on_the_upper_left_of_an_edge() -> None:
    edges = boundary(rectangle(2, 4, 2, 5, (7, 8)))
    expected = np.array(
        [
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0, 1, 1, 1, 1, 0, 0, 0],
            [0, 1, 0, 0, 1, 0, 0, 0],
            [0, 1, 1, 1, 1, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0, 0, 0],
        ],
        dtype=np.bool_,
    )
    np.testing.assert_array_equal(edges, expected)


def test_boundary_at_the_end_of_the_picture() -> None:
    # A mask that touches the right and lower border: no edge along them, none in the corner.
    edges = boundary(rectangle(3, 6, 3, 6, (6, 6)))
    np.testing.assert_array_equal(np.argwhere(edges), [[2, 2], [2, 3], [2, 4], [2, 5], [3, 2],
                                                       [4, 2], [5, 2]])  # fmt: skip


def test_dilation_is_a_disc() -> None:
    point = rectangle(10, 11, 10, 11, (21, 21))
    y, x = np.mgrid[-10:11, -10:11]
    np.testing.assert_array_equal(dilate(point, 6), x**2 + y**2 <= 36)


def test_a_shift_within_the_tolerance_costs_nothing() -> None:
    # 60x80: the diagonal is 100 pixels, 0.008 of it rounds up to one pixel.
    square = rectangle(20, 40, 20, 40)
    assert boundary_f(square, rectangle(20, 40, 21, 41)) == 1.0
    assert boundary_f(square, rectangle(20, 40, 22, 42)) < 1.0


def test_f_of_a_shift_counted_by_hand() -> None:
    # A 10x10 square: its boundary is the outline of an 11x11 square, 40 pixels. Shifted by 4 with
    # 1 pixel of tolerance, the two outlines meet along the top and bottom rows only: 11 - 4
    # columns shared, 1 more within reach at either end of a row's part, nothing on the sides
    # but what lies next to those rows.
    mask, truth = rectangle(20, 30, 20, 30), rectangle(20, 30, 24, 34)
    mine, other = boundary(mask), boundary(truth)
    assert mine.sum() == other.sum() == 40
    near = 0
    for y, x in np.argwhere(mine):
        near += bool((np.hypot(*(np.argwhere(other) - (y, x)).T) <= 1).any())
    # Right part of the top and the bottom row: columns 23..29 of 19..29 shared, 22 beside them;
    # the right side (column 29) meets the rows' neighbours at its two ends; likewise mirrored.
    assert near == 2 * 8 + 2
    assert boundary_f(mask, truth) == pytest.approx(near / 40)


def test_precision_and_recall_differ() -> None:
    truth = rectangle(10, 20, 10, 20)
    mask = truth | rectangle(40, 50, 60, 70)
    # All of the truth is found (recall 1), half of what was found is right (precision 1/2).
    assert boundary_f(mask, truth) == pytest.approx(2 * 0.5 / 1.5)
    assert boundary_f(truth, mask) == pytest.approx(2 * 0.5 / 1.5)
    assert jaccard(mask, truth) == pytest.approx(0.5)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(12, 17), (30, 9), (1, 5)]), st.integers(1, 4))
def test_working_on_a_crop_changes_nothing(seed: int, shape: tuple[int, int], radius: int) -> None:
    generator = np.random.default_rng(seed)
    mask, truth = generator.random((2, *shape)) > generator.uniform(0.5, 0.99)
    mine, other = boundary(mask), boundary(truth)
    if not mine.any() or not other.any():
        expected = float(mine.any() == other.any())
    else:
        precision = (mine & dilate(other, radius)).sum() / mine.sum()
        recall = (other & dilate(mine, radius)).sum() / other.sum()
        total = precision + recall
        expected = 0.0 if total == 0 else 2 * precision * recall / total
    assert boundary_f(mask, truth, radius) == pytest.approx(expected)


def test_masks_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="two boolean masks of one shape"):
        jaccard(EMPTY, EMPTY[1:])
