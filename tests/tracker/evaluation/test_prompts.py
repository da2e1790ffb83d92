"""Prompts made from a true mask."""

from __future__ import annotations

import numpy as np
import pytest

from tracker.evaluation.prompts import first_frame_prompt, innermost_pixel


@pytest.fixture
def truth() -> np.ndarray:
    mask = np.zeros((40, 60), dtype=np.bool_)
    mask[10:21, 20:31] = True  # a square of 11
    mask[15, 31:50] = True  # with a thin arm
    return mask


def test_mask_prompt_is_the_mask(truth: np.ndarray) -> None:
    np.testing.assert_array_equal(first_frame_prompt(3, truth, "mask").mask, truth)


def test_box_prompt_encloses_the_mask(truth: np.ndarray) -> None:
    prompt = first_frame_prompt(3, truth, "box")
    assert prompt.box_xyxy == (20.0, 10.0, 50.0, 21.0)
    assert prompt.mask is None


def test_point_prompt_lies_deep_inside(truth: np.ndarray) -> None:
    prompt = first_frame_prompt(3, truth, "point")
    assert prompt.points_xy == ((25.5, 15.5),)
    assert prompt.point_labels == (1,)


def test_innermost_pixel_of_a_mask_that_fills_the_picture() -> None:
    assert innermost_pixel(np.ones((5, 9), dtype=np.bool_)) == (2, 4)


def test_innermost_pixel_belongs_to_a_ring() -> None:
    y, x = np.mgrid[-20:21, -20:21]
    ring = (np.hypot(x, y) < 18) & (np.hypot(x, y) > 10)
    assert ring[innermost_pixel(ring)]


def test_an_empty_mask_cannot_be_prompted() -> None:
    with pytest.raises(ValueError, match="object 3 has no pixel"):
        first_frame_prompt(3, np.zeros((4, 4), dtype=np.bool_), "mask")
