import cv2
import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from tests.tracker.pictures.bitmaps import bitmaps
from tracker.pictures.runs import Runs, compressed, runs_of, without_small_regions


def runs_in(mask: np.ndarray) -> Runs:
    (runs,) = runs_of(torch.from_numpy(mask[None]))
    return runs


@given(bitmaps())
def test_runs_hold_the_mask(mask: np.ndarray) -> None:
    runs = runs_in(mask)
    height, width = mask.shape
    np.testing.assert_array_equal(runs.bitmap((0, 0, width, height)), mask)
    assert runs.area == mask.sum()
    x0, y0, x1, y1 = runs.box_xyxy
    np.testing.assert_array_equal(runs.bitmap(runs.box_xyxy), mask[y0:y1, x0:x1])
    assert mask[y0:y1, x0:x1].sum() == mask.sum()
    np.testing.assert_array_equal(
        runs.moved(2, 3).bitmap((0, 0, width + 2, height + 3)), np.pad(mask, ((3, 0), (2, 0)))
    )


@given(bitmaps())
def test_run_lengths_are_those_of_coco(mask: np.ndarray) -> None:
    height, width = mask.shape
    counts = runs_in(mask).counts(height, width)
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert compressed(counts) == theirs["counts"].decode()
    assert coco.frPyObjects({"size": [height, width], "counts": counts}, height, width) == theirs


def test_several_masks_at_once() -> None:
    masks = np.random.default_rng(0).random((5, 6, 7)) < 0.4
    masks[2] = False
    for runs, mask in zip(runs_of(torch.from_numpy(masks)), masks, strict=True):
        np.testing.assert_array_equal(runs.bitmap((0, 0, 7, 6)), mask)


def cleaned_by_opencv(mask: np.ndarray, least: int) -> np.ndarray:
    """Small holes filled, then small regions removed; all of equal size if all are small."""
    mask = mask.copy()
    for value in (0, 1):
        _, labels, stats, _ = cv2.connectedComponentsWithStats((mask == value).astype(np.uint8), 8)
        areas = stats[1:, cv2.CC_STAT_AREA]
        small = areas < least
        if value and len(areas) and small.all():
            small = areas < areas.max()
        mask[np.isin(labels, 1 + np.flatnonzero(small))] = not value
    return mask


@given(bitmaps(), st.sampled_from([0, 1, 2, 5, 20, 10_000]))
def test_small_holes_and_regions_are_those_of_opencv(mask: np.ndarray, least: int) -> None:
    height, width = mask.shape
    ours = without_small_regions(runs_in(mask), height, width, least)
    expected = cleaned_by_opencv(mask, least)
    bitmap = ours.bitmap((0, 0, width, height))
    if (bitmap != expected).any():  # only one of several equally large regions stays
        kept = cv2.connectedComponents(expected.astype(np.uint8))[0] - 1
        assert kept > 1
        assert ours.area * kept == expected.sum()


def test_a_spiral_is_one_region() -> None:
    side = 201
    mask = np.zeros((side, side), np.bool_)
    y, x, (dy, dx), length = 0, 0, (0, 1), side - 1
    mask[0, 0] = True
    for turn in range(side):
        for _ in range(length):
            y, x = y + dy, x + dx
            mask[y, x] = True
        dy, dx = dx, -dy
        if (turn and turn % 2 == 0) or turn == 0:
            length -= 2 if turn else 0
        if length <= 0:
            break
    assert cv2.connectedComponents(mask.astype(np.uint8))[0] == 2
    kept = without_small_regions(runs_in(mask), side, side, int(mask.sum()))
    assert kept.area >= mask.sum()
