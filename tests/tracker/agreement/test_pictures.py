"""Masks of single pictures are those of `transformers`' ``Sam2Model`` with the same weights.

Where the two differ on purpose: our low-resolution logits are limited to ±32, as Meta's are.
"""

from __future__ import annotations

from collections.abc import Callable
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
from tracker import ImagePredictor, PictureOptions
from tracker.images import transforms
from tracker.model import Sam2
from tracker.model.prompt_encoder import PromptEmbedding
from tracker.pictures import predictor, prompts
from tracker.pictures.delivery import LOGIT_LIMIT
from tracker.weights.transformers_names import to_transformers

TOLERANCE = 5e-5
ON_THE_CONTOUR = 1e-4
HEIGHT, WIDTH = 200, 312
IMAGE = (3, HEIGHT, WIDTH)  # seed and size
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
    "a small box and a point": {
        "box_xyxy": [5, 6, 70, 33],
        "points_xy": [[20, 30]],
        "point_labels": [1],
    },
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
    options = PictureOptions(closer_look=False)  # the reference has none
    return ImagePredictor(model_with(SMALL, weights), torch.device("cpu"), options)


@cache
def encoded_by_theirs(seed: int, height: int, width: int) -> list[torch.Tensor]:
    model, processor = theirs()
    inputs = processor(images=picture(seed, height, width), return_tensors="pt")
    with torch.inference_mode():
        return model.get_image_embeddings(inputs["pixel_values"])


@torch.inference_mode()
def asked_of_theirs(
    image: tuple[int, int, int], prompt: dict[str, Any], multimask: bool
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
    inputs = dict(processor(original_sizes=[image[1:]], return_tensors="pt", **given))
    if "mask" in prompt:
        inputs["input_masks"] = torch.from_numpy(prompt["mask"])[None, None] * 20.0 - 10.0
    if "previous_logits" in prompt:
        inputs["input_masks"] = torch.from_numpy(prompt["previous_logits"])[None]
    sizes = inputs.pop("original_sizes")
    embeddings = list(encoded_by_theirs(*image))
    output = model(**inputs, image_embeddings=embeddings, multimask_output=multimask)
    (masks,) = processor.post_process_masks(output.pred_masks, sizes)
    return masks, output.iou_scores[0], output.pred_masks[0]


def difference(ours: ImagePredictor, image: tuple[int, int, int], kind: str, many: bool) -> float:
    """The largest difference, in shares of the largest logit (or 10) and in IoU."""
    result = ours.predict(**PROMPTS[kind], multimask=many)
    masks, iou, logits = asked_of_theirs(image, PROMPTS[kind], many)
    if result.masks.ndim == 3:
        masks, iou, logits = masks[0], iou[0], logits[0]
    assert result.masks.shape == masks.shape
    scale = max(float(logits.abs().max()) / 10, 1)
    limited = logits.clamp(-LOGIT_LIMIT, LOGIT_LIMIT).numpy()
    # A pixel on the contour may fall on either side.
    return max(
        float(np.abs(result.low_resolution_logits - limited).max()) / scale,
        float(np.abs(result.predicted_iou - iou.numpy()).max()),
        float(np.mean(result.masks != masks.numpy())) - ON_THE_CONTOUR,
    )


@pytest.fixture(scope="module")
def ours() -> ImagePredictor:
    predictor = our_predictor()
    predictor.set_image(picture(*IMAGE))
    return predictor


@pytest.mark.parametrize("multimask", [True, False], ids=["three masks", "one mask"])
@pytest.mark.parametrize("kind", PROMPTS)
def test_every_kind_of_prompt_agrees(ours: ImagePredictor, kind: str, multimask: bool) -> None:
    assert difference(ours, IMAGE, kind, multimask) < TOLERANCE


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_size_agrees(size: tuple[int, int]) -> None:
    ours = our_predictor()
    ours.set_image(picture(5, *size))
    assert difference(ours, (5, *size), "a small box and a point", True) < TOLERANCE


def test_one_mask_is_sometimes_the_best_of_three(ours: ImagePredictor) -> None:
    """Both branches of the choice are compared above."""
    single = [ours.predict(**prompt, multimask=False) for prompt in PROMPTS.values()]
    three = [ours.predict(**prompt) for prompt in PROMPTS.values()]
    among = [
        bool(np.isin(one.predicted_iou, more.predicted_iou).any())
        for one, more in zip(single, three, strict=True)
    ]
    assert set(among) == {True, False}


def without_padding(model: Sam2, points: Any, labels: Any, mask: Any = None) -> PromptEmbedding:
    sparse, dense = model.sam_prompt_encoder(points, labels, mask)
    return PromptEmbedding(sparse[:, :-1], dense)


# Mistakes that are easily made, each with a prompt that shows it, and whether of three masks.
Plant = Callable[[pytest.MonkeyPatch], None]
MISTAKES: dict[str, tuple[Plant, str, bool]] = {
    "frames' interpolation": (
        lambda patch: patch.setattr(
            predictor, "prepare_image", lambda *image, mode: transforms.prepare_image(*image)
        ),
        "a point",
        True,
    ),
    "no constant in place of the memory": (
        lambda patch: patch.setattr(Sam2, "attend", lambda _, stride16, memory: stride16),
        "a point",
        True,
    ),
    "height and width exchanged": (
        lambda patch: patch.setattr(
            prompts,
            "points_to_model",
            lambda xy, height, width, size: transforms.points_to_model(xy, width, height, size),
        ),
        "a box",
        True,
    ),
    "points at the corner of their pixel": (
        lambda patch: patch.setattr(
            prompts, "points_to_model", lambda *points: transforms.points_to_model(*points) - 0.5
        ),
        "points",
        True,
    ),
    "corners of a box as points of the object": (
        lambda patch: patch.setattr(prompts, "BOX_LAST", 1),
        "a box and points",
        True,
    ),
    "a mask as 0 and 1": (
        lambda patch: (
            patch.setattr(prompts, "MASK_PROMPT_SCALE", 1),
            patch.setattr(prompts, "MASK_PROMPT_BIAS", 0),
        ),
        "a mask",
        True,
    ),
    "previous logits not fed": (
        lambda patch: patch.setattr(prompts, "_dense", lambda *_: None),
        "a point and logits",
        True,
    ),
    "the box without the points": (
        lambda patch: patch.setattr(prompts, "_points", lambda *_: None),
        "several boxes and points",
        True,
    ),
    "an unstable mask kept": (
        lambda patch: patch.setattr(
            predictor, "unambiguous", lambda _, best: torch.zeros_like(best)
        ),
        "several boxes",
        False,
    ),
    "the best of three where one is stable": (
        lambda patch: patch.setattr(predictor, "unambiguous", lambda _, best: best),
        "a box and points",
        False,
    ),
    "no padding point": (
        lambda patch: patch.setattr(Sam2, "encode_prompts", without_padding),
        "points",
        True,
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_planted_mistake_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, kind, many = MISTAKES[name]
    plant(monkeypatch)
    ours = our_predictor()
    ours.set_image(picture(*IMAGE))
    assert difference(ours, IMAGE, kind, many) > 2 * TOLERANCE
