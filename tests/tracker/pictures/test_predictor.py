"""The image predictor: several objects and pictures at once, shapes, refinement, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.fake_hub import fake_hub
from tests.tracker.little import LITTLE, little_picture
from tests.tracker.pictures.predictors import little_predictor
from tracker import (
    ImagePredictor,
    MaskGenerator,
    PictureMasks,
    PictureOptions,
    PicturePrompt,
    PromptError,
)
from tracker.images.transforms import resize_logits
from tracker.weights.checkpoint import save_checkpoint

HEIGHT, WIDTH = 90, 140
SIDE = LITTLE.low_resolution_size
MASK = np.zeros((HEIGHT, WIDTH), np.bool_)
MASK[20:60, 30:90] = True


@pytest.fixture
def predictor() -> ImagePredictor:
    predictor = little_predictor()
    predictor.set_image(little_picture(0, HEIGHT, WIDTH))
    return predictor


def assert_same(ours: PictureMasks, theirs: PictureMasks) -> None:
    """Equal to rounding: other batches are summed in another order."""
    largest = np.abs(theirs.low_resolution_logits).max()
    np.testing.assert_allclose(
        ours.low_resolution_logits, theirs.low_resolution_logits, atol=2e-5 * largest
    )
    np.testing.assert_allclose(ours.predicted_iou, theirs.predicted_iou, atol=2e-5)
    assert np.mean(ours.masks != theirs.masks) < 1e-3


def test_masks_have_the_size_of_the_picture(predictor: ImagePredictor) -> None:
    three = predictor.predict([[70, 40]], [1])
    assert three.masks.shape == (3, HEIGHT, WIDTH)
    assert three.masks.dtype == np.bool_
    assert three.predicted_iou.shape == (3,)
    assert three.low_resolution_logits.shape == (3, SIDE, SIDE)
    assert predictor.predict([[70, 40]], multimask=False).masks.shape == (1, HEIGHT, WIDTH)
    boxes = predictor.predict(box_xyxy=[[10, 10, 60, 60], [20, 5, 90, 80]], multimask=False)
    assert boxes.masks.shape == (2, 1, HEIGHT, WIDTH)
    assert predictor.predict(box_xyxy=[[10, 10, 60, 60]]).masks.shape == (1, 3, HEIGHT, WIDTH)


def test_a_model_of_the_hub_is_loaded_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hub").mkdir()
    own = little_predictor()
    save_checkpoint(own._model, tmp_path / "hub" / "model.safetensors", torch.float32)
    with fake_hub(tmp_path / "cache", monkeypatch) as hub:
        hub.models["ada/little-sam2"] = tmp_path / "hub"
        predictor = ImagePredictor.from_pretrained("ada/little-sam2", device="cpu")
        generator = MaskGenerator.from_pretrained("ada/little-sam2", device="cpu")
    assert predictor.identity == generator._predictor.identity == own.identity


def test_logits_are_those_whose_sign_is_the_mask(predictor: ImagePredictor) -> None:
    masks = predictor.predict([[70, 40]])
    logits = predictor.predict([[70, 40]], logits=True)
    assert logits.masks.dtype == np.float32
    assert np.mean((logits.masks > 0) != masks.masks) < 1e-3
    resized = resize_logits(torch.from_numpy(masks.low_resolution_logits)[:, None], HEIGHT, WIDTH)
    assert np.mean((resized[:, 0].numpy() > 0) != masks.masks) < 1e-3


def test_several_objects_at_once_are_each_as_alone(predictor: ImagePredictor) -> None:
    each: list[dict[str, Any]] = [
        {"points_xy": [[70, 40], [20, 20]], "point_labels": [1, 0], "box_xyxy": [5, 5, 100, 80]},
        {"points_xy": [[30, 70], [99, 3]], "point_labels": [1, 1], "box_xyxy": [20, 50, 60, 89]},
    ]
    for one, mask in zip(each, (MASK, ~MASK), strict=True):
        one["mask"] = mask
    together = predictor.predict(**{name: [one[name] for one in each] for name in each[0]})
    for place, one in enumerate(each):
        assert_same(PictureMasks(*(part[place] for part in together)), predictor.predict(**one))


def test_pictures_encoded_and_asked_as_a_batch_are_each_as_alone() -> None:
    predictor = little_predictor()
    sizes = [(HEIGHT, WIDTH), (64, 64), (200, 31)]
    images = [little_picture(seed, *size) for seed, size in enumerate(sizes)]
    prompts = [
        PicturePrompt([[20, 50]], image=1),
        PicturePrompt(box_xyxy=[[2, 3, 30, 40], [5, 5, 25, 60]], image=2),
        PicturePrompt([[20, 50], [3, 4]], image=0),
        PicturePrompt([[10, 60]], image=2),
        PicturePrompt(mask=MASK, image=0),
    ]
    predictor.set_images(images)
    together = predictor.predict_batch(prompts)
    for prompt, masks in zip(prompts, together, strict=True):
        predictor.set_image(images[prompt.image])
        alone = predictor.predict(prompt.points_xy, None, prompt.box_xyxy, prompt.mask)
        assert_same(masks, alone)


def test_an_earlier_result_is_refined(predictor: ImagePredictor) -> None:
    first = predictor.predict([[70, 40]])
    best = int(first.predicted_iou.argmax())
    chosen = first.low_resolution_logits[best]
    points = {"points_xy": [[70, 40], [100, 80]], "point_labels": [1, 0]}
    refined = predictor.predict(**points, previous_logits=chosen, multimask=False)
    assert_same(refined, predictor.predict(**points, previous_logits=chosen[None], multimask=False))
    assert (refined.masks != predictor.predict(**points, multimask=False).masks).any()
    both = predictor.predict(
        box_xyxy=[[5, 5, 60, 60]] * 3, previous_logits=first.low_resolution_logits[:, None]
    )
    assert both.masks.shape == (3, 3, HEIGHT, WIDTH)


def test_returned_logits_are_within_what_the_network_was_trained_with() -> None:
    weights_are_loud = little_predictor(seed=3)
    with torch.no_grad():
        for mlp in weights_are_loud._model.sam_mask_decoder.output_hypernetworks_mlps:
            mlp.layers[2].weight.mul_(1000)
    weights_are_loud.set_image(little_picture(0))
    assert np.abs(weights_are_loud.predict([[5, 5]]).low_resolution_logits).max() == 32


def test_anything_that_numpy_takes_as_rgb_is_a_picture(predictor: ImagePredictor) -> None:
    image = little_picture(4, HEIGHT, WIDTH)
    predictor.set_image(image)
    from_array = predictor.predict([[70, 40]])
    predictor.set_image(Image.fromarray(image))  # type: ignore[arg-type]
    np.testing.assert_array_equal(predictor.predict([[70, 40]]).masks, from_array.masks)
    predictor.set_image(predictor.prepare(image))
    np.testing.assert_array_equal(predictor.predict([[70, 40]]).masks, from_array.masks)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (2, 2), (3000, 7)])
def test_pictures_of_any_size(size: tuple[int, int]) -> None:
    predictor = little_predictor()
    predictor.set_image(little_picture(0, *size))
    assert predictor.predict([[0, 0]]).masks.shape == (3, *size)


def test_options_move_the_threshold_and_clean_the_masks() -> None:
    plain = little_predictor()
    low = little_predictor(PictureOptions(mask_threshold=-4.0, closer_look=False))
    clean = little_predictor(
        PictureOptions(fill_hole_area=8, remove_speck_area=8, closer_look=False)
    )
    results = []
    for predictor in (plain, low, clean):
        predictor.set_image(little_picture(0, HEIGHT, WIDTH))
        results.append(predictor.predict([[70, 40]]))
    assert results[1].masks.sum() > results[0].masks.sum()
    assert (results[2].masks != results[0].masks).any()
    for result in results[1:]:  # the raw result is not touched
        np.testing.assert_array_equal(
            result.low_resolution_logits, results[0].low_resolution_logits
        )


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "give points_xy, box_xyxy, mask or previous_logits"),
    "a flat point": ({"points_xy": [3, 4]}, r"\(K, 2\) or \(N, K, 2\), got \(2,\)"),
    "no points": ({"points_xy": np.zeros((0, 2))}, r"got \(0, 2\)"),
    "no objects": ({"points_xy": np.zeros((0, 1, 2))}, "hold no object"),
    "words": ({"points_xy": [["a", "b"]]}, "no array of numbers"),
    "ragged": ({"points_xy": [[[1, 2]], [[1, 2], [3, 4]]]}, "no array of numbers"),
    "NaN": ({"points_xy": [[float("nan"), 3]]}, "must be finite, got nan"),
    "outside": ({"points_xy": [[140, 3]]}, r"\(140, 3\) lies outside the 140×90 picture"),
    "negative": ({"points_xy": [[-1, 3]]}, r"\(-1, 3\) lies outside"),
    "labels alone": ({"point_labels": [1]}, "without points_xy"),
    "too few labels": ({"points_xy": [[1, 2], [3, 4]], "point_labels": [1]}, "but"),
    "an unknown label": ({"points_xy": [[1, 2]], "point_labels": [2]}, "got 2"),
    "too many points": ({"points_xy": [[1, 2]] * 65}, "at most 64 points"),
    "a box of no size": ({"box_xyxy": [3, 3, 3, 9]}, "x0 < x1"),
    "a box outside": ({"box_xyxy": [200, 3, 230, 9]}, "outside the 140×90"),
    "half a box": ({"box_xyxy": [3, 3]}, r"\(4,\) or \(N, 4\), got \(2,\)"),
    "a mask of grey": ({"mask": MASK.astype(np.uint8)}, "must be boolean .* got uint8"),
    "a mask of another size": ({"mask": MASK[1:]}, "140×89 pixels, the picture 140×90"),
    "two masks": ({"mask": MASK, "previous_logits": np.zeros((16, 16))}, "not both"),
    "large logits": ({"previous_logits": np.zeros((256, 256))}, r"must be \(16, 16\)"),
    "three logits": ({"previous_logits": np.zeros((1, 3, 16, 16))}, "choose one"),
    "unequal counts": (
        {"points_xy": [[[1, 2]]] * 3, "box_xyxy": [[1, 2, 3, 4]] * 2},
        "of 2 and 3 objects",
    ),
    "no such picture": ({"points_xy": [[1, 2]], "image": 1}, "no picture 1: 1 were set"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_prompt_is_refused_with_what_is_wrong(predictor: ImagePredictor, name: str) -> None:
    prompt, message = WRONG[name]
    with pytest.raises(PromptError, match=message):
        predictor.predict(**prompt)


def test_what_is_no_picture_is_refused_and_the_earlier_one_stays(predictor: ImagePredictor) -> None:
    before = predictor.predict([[70, 40]])
    for wrong in (np.zeros((5, 5), np.uint8), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(ValueError, match="an image is RGB uint8"):
            predictor.set_image(wrong)
    with pytest.raises(ValueError, match="at least one picture"):
        predictor.set_images([])
    assert_same(predictor.predict([[70, 40]]), before)
    predictor.reset()
    with pytest.raises(ValueError, match="call set_image"):
        predictor.predict([[70, 40]])
