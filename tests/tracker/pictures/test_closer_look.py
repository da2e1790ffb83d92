"""What is small in a picture is looked at once more, larger; all is seen mirrored too."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from tests.tracker.pictures.predictors import little_predictor
from tracker import ImagePredictor, PictureOptions
from tracker.pictures.closer_look import Look
from tracker.step.window import Window

PICTURE = np.random.default_rng(5).integers(0, 256, (90, 160, 3), np.uint8)
BOX = (100, 40, 120, 56)
# A square of 1.25 times the box's longer side around its middle.
PART = (slice(36, 61), slice(98, 123))


@pytest.fixture(scope="module")
def closer() -> ImagePredictor:
    return little_predictor(PictureOptions(closer_look=True))


def plain() -> ImagePredictor:
    return little_predictor()


def mean_of_both_views(
    picture: npt.NDArray[np.uint8], **prompt: Any
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Logits and predicted IoU without closer looks: the mean of a picture and its mirror image."""
    network, width = plain(), picture.shape[1]
    network.set_image(picture)
    first = network.predict(**prompt, logits=True)
    if "box_xyxy" in prompt:
        x0, y0, x1, y1 = prompt.pop("box_xyxy")
        prompt["box_xyxy"] = (width - x1, y0, width - x0, y1)
    if "points_xy" in prompt:
        prompt["points_xy"] = [[width - x, y] for x, y in prompt["points_xy"]]
    network.set_image(np.ascontiguousarray(picture[:, ::-1]))
    other = network.predict(**prompt, logits=True)
    logits_MHW = (first.masks + other.masks[..., ::-1]) / 2
    return logits_MHW, (first.predicted_iou + other.predicted_iou) / 2


def test_a_small_box_has_the_mask_of_the_part_around_it(closer: ImagePredictor) -> None:
    closer.set_image(PICTURE)
    seen = closer.predict(box_xyxy=BOX, multimask=False, logits=True)
    part = np.ascontiguousarray(PICTURE[PART])
    logits_1HW, iou_1 = mean_of_both_views(part, box_xyxy=(2, 4, 22, 20), multimask=False)
    # The part is one of whole pixels; the points reach the network by another division.
    assert np.abs(seen.masks[:, *PART] - logits_1HW).max() < 1e-3
    assert seen.predicted_iou == pytest.approx(iou_1, abs=1e-5)
    outside = np.ones(PICTURE.shape[:2], np.bool_)
    outside[PART] = False
    assert (seen.masks[0][outside] == -32).all()
    masks = closer.predict(box_xyxy=BOX, multimask=False).masks
    assert (masks == (seen.masks > 0)).all()


def test_the_low_logits_of_a_closer_look_lie_where_it_was_taken() -> None:
    side, window = 16, Window(40, 10, 80, 50)
    ramp = torch.arange(side, dtype=torch.float32).expand(1, side, side)
    whole = Look(window, ramp, torch.ones(1)).on_whole(90, 160, outside=-32)[0].numpy()
    x, y = (np.arange(side) + 0.5) * 10, (np.arange(side) + 0.5) * 90 / side
    inside = (y[:, None] > 10) & (y[:, None] < 60) & (x > 40) & (x < 120)
    assert (whole[~inside] == -32).all()
    columns = np.broadcast_to((x - 40) / 80 * side - 0.5, (side, side))
    assert np.abs(whole - columns)[inside].max() < 1e-4


def test_the_low_logits_of_a_closer_look_are_a_prompt_for_the_picture(
    closer: ImagePredictor,
) -> None:
    closer.set_image(PICTURE)
    low = closer.predict(box_xyxy=BOX, multimask=False).low_resolution_logits
    again = closer.predict(box_xyxy=BOX, previous_logits=low, multimask=False)
    network = plain()
    network.set_image(PICTURE)
    wanted = network.predict(box_xyxy=BOX, previous_logits=low, multimask=False)
    assert (again.masks == wanted.masks).all()


@pytest.mark.parametrize(
    "prompt",
    [
        {"box_xyxy": (2, 3, 150, 80)},
        {"box_xyxy": (-40, -30, 200, 120)},
        {"points_xy": [[4, 5], [150, 80]], "point_labels": [1, 1], "multimask": False},
    ],
)
def test_what_fills_the_picture_is_seen_as_it_is_and_mirrored(
    closer: ImagePredictor, prompt: dict[str, Any]
) -> None:
    closer.set_image(PICTURE)
    found = closer.predict(**prompt, logits=True)
    logits_MHW, iou_M = mean_of_both_views(PICTURE, **prompt)
    assert np.abs(found.masks - logits_MHW).max() < 1e-3
    assert found.predicted_iou == pytest.approx(iou_M, abs=1e-5)


def test_each_of_several_objects_has_its_own_look(closer: ImagePredictor) -> None:
    boxes = [[100, 40, 120, 56], [2, 3, 150, 80], [0, 0, 3, 2], *([[20, 20, 31, 42]] * 9)]
    closer.set_images([PICTURE[::-1], PICTURE])
    together = closer.predict(box_xyxy=boxes, image=1)
    for place, box in enumerate(boxes):
        alone = closer.predict(box_xyxy=box, image=1)
        assert together.predicted_iou[place] == pytest.approx(alone.predicted_iou, abs=1e-4)
        assert (together.masks[place] != alone.masks).mean() < 0.001


def test_a_click_keeps_the_better_of_both_looks(closer: ImagePredictor) -> None:
    closer.set_image(PICTURE)
    for x, y in itertools.product(range(4, 160, 24), range(4, 90, 28)):
        found = closer.predict([[x, y]]).predicted_iou.max()
        _, iou_M = mean_of_both_views(PICTURE, points_xy=[[x, y]])
        assert found >= iou_M.max() - 1e-5


def test_the_array_may_change_after_it_was_set(closer: ImagePredictor) -> None:
    picture = PICTURE.copy()
    closer.set_image(picture)
    wanted = closer.predict(box_xyxy=BOX)
    picture[:] = 0
    assert (closer.predict(box_xyxy=BOX).masks == wanted.masks).all()


def test_only_pictures_that_are_there_are_looked_at(closer: ImagePredictor) -> None:
    network = plain()
    network.set_image(PICTURE)
    for begin in (
        lambda: closer.set_images([closer.prepare(PICTURE)]),
        lambda: closer.set_embeddings(closer.encode([PICTURE])),
    ):
        begin()
        assert (closer.predict(box_xyxy=BOX).masks == network.predict(box_xyxy=BOX).masks).all()


def test_a_small_view_looks_closer_by_itself() -> None:
    assert little_predictor(PictureOptions()).looks_closer
    assert not little_predictor(PictureOptions(image_size=512)).looks_closer
