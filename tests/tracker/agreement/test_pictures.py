"""Masks of single pictures are those of `transformers`' ``Sam2Model`` with the same weights.

Where the two differ on purpose: our low-resolution logits are limited to ±32, as Meta's are.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from transformers import Sam2Config, Sam2ImageProcessor, Sam2Model, Sam2Processor

from tests.tracker.agreement.reference import transformers_config
from tests.tracker.agreement.scripts import (
    IMAGE_SIZE,
    SMALL,
    disc,
    model_with,
    picture,
    small_weights,
)
from tests.tracker.agreement.transformers_names import to_transformers
from tracker import ImagePredictor, PictureMasks

TOLERANCE = 5e-5
HEIGHT, WIDTH = 200, 312
POINTS, LABELS = [[150, 60], [40, 120]], [1, 0]
BOX, OTHER_BOX = [30, 40, 190, 120], [-4, 100, 300.5, 230]
MASK = disc(100, 90, 40, WIDTH)[:HEIGHT]
LOGITS = 8 * np.random.default_rng(0).standard_normal((1, 64, 64)).astype(np.float32)

# Everything that can be asked, alone and together: our prompt, and how many objects it names.
PROMPTS: dict[str, dict[str, Any]] = {
    "a point": {"points_xy": POINTS[:1], "point_labels": [1]},
    "a point beside it": {"points_xy": POINTS[:1], "point_labels": [0]},
    "points": {"points_xy": POINTS, "point_labels": LABELS},
    "a padded point": {"points_xy": POINTS, "point_labels": [1, -1]},
    "a box": {"box_xyxy": BOX},
    "a mask": {"mask": MASK},
    "previous logits": {"previous_logits": LOGITS},
    "a box and points": {"box_xyxy": BOX, "points_xy": POINTS, "point_labels": LABELS},
    "a point and logits": {"points_xy": POINTS[:1], "point_labels": [1], "previous_logits": LOGITS},
    "all": {"box_xyxy": BOX, "points_xy": POINTS, "point_labels": LABELS, "mask": MASK},
    "several points": {"points_xy": [POINTS[:1], POINTS[1:]], "point_labels": [[1], [1]]},
    "several boxes": {"box_xyxy": [BOX, OTHER_BOX]},
    "several boxes and points": {
        "box_xyxy": [BOX, OTHER_BOX],
        "points_xy": [POINTS, POINTS[::-1]],
        "point_labels": [LABELS, [1, 1]],
    },
}
SIZES = [(HEIGHT, WIDTH), (IMAGE_SIZE, IMAGE_SIZE), (700, 203), (33, 90)]


@cache
def theirs() -> tuple[Sam2Model, Sam2Processor]:
    video = transformers_config(SMALL)
    config = Sam2Config(
        vision_config=video.vision_config,
        prompt_encoder_config=video.prompt_encoder_config,
        mask_decoder_config=video.mask_decoder_config,
    )
    model = Sam2Model(config)
    weights = to_transformers(small_weights())
    own = model.state_dict().keys()
    model.load_state_dict({name: weights[name] for name in own}, strict=True)
    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    return model.eval(), Sam2Processor(Sam2ImageProcessor(size=side))


def our_predictor() -> ImagePredictor:
    """With copies of the weights, as some mistakes write into them."""
    weights = {name: value.clone() for name, value in small_weights().items()}
    return ImagePredictor(model_with(SMALL, weights), torch.device("cpu"))


@torch.inference_mode()
def asked_of_theirs(
    image: np.ndarray, prompt: dict[str, Any], multimask: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Masks, predicted IoU and low-resolution logits, with a dimension for the objects."""
    model, processor = theirs()
    points, box = prompt.get("points_xy"), prompt.get("box_xyxy")
    several = np.ndim(points if points is not None else box) == (3 if points is not None else 2)
    given: dict[str, Any] = {}
    for name, value in (
        ("input_points", points),
        ("input_labels", prompt.get("point_labels")),
        ("input_boxes", box),
    ):
        if value is not None:
            given[name] = [value] if several else [[value]]
    inputs = dict(processor(images=image, return_tensors="pt", **given))
    if "mask" in prompt:
        inputs["input_masks"] = torch.from_numpy(prompt["mask"])[None, None] * 20.0 - 10.0
    if "previous_logits" in prompt:
        inputs["input_masks"] = torch.from_numpy(prompt["previous_logits"])[None]
    sizes = inputs.pop("original_sizes")
    output = model(**inputs, multimask_output=multimask)
    (masks,) = processor.post_process_masks(output.pred_masks, sizes)
    return masks, output.iou_scores[0], output.pred_masks[0]


def difference(ours: PictureMasks, image: np.ndarray, prompt: Any, multimask: bool) -> float:
    """The largest difference, in shares of the largest logit and in IoU."""
    masks, iou, logits = asked_of_theirs(image, prompt, multimask)
    if ours.masks.ndim == 3:
        masks, iou, logits = masks[0], iou[0], logits[0]
    assert ours.masks.shape == masks.shape
    scale = float(logits.abs().max()) / 10
    limited = logits.clamp(-32, 32)
    worst = float(np.abs(ours.low_resolution_logits - limited.numpy()).max()) / max(scale, 1)
    # A pixel on the contour may fall on either side.
    assert np.mean(ours.masks != masks.numpy()) < 1e-4
    return max(worst, float(np.abs(ours.predicted_iou - iou.numpy()).max()))


@pytest.mark.parametrize("multimask", [True, False], ids=["three masks", "one mask"])
@pytest.mark.parametrize("kind", PROMPTS)
def test_every_kind_of_prompt_agrees(kind: str, multimask: bool) -> None:
    ours, image = our_predictor(), picture(3, HEIGHT, WIDTH)
    ours.set_image(image)
    result = ours.predict(**PROMPTS[kind], multimask=multimask)
    assert difference(result, image, PROMPTS[kind], multimask) < TOLERANCE


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_size_agrees(size: tuple[int, int]) -> None:
    ours, image = our_predictor(), picture(5, *size)
    ours.set_image(image)
    prompt = {"points_xy": [[20, 30]], "box_xyxy": [5, 6, 70, 33]}
    prompt["point_labels"] = [1]
    assert difference(ours.predict(**prompt), image, prompt, True) < TOLERANCE
