"""The generator finds what the plain predictor and `transformers`' own filters find together.

Both run the same network, which other tests compare; benchmarks/mask_generator.py compares with the
generator of the package `sam2` as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco
from supervision import Detections
from torch.nn import functional as F
from torchvision.ops import nms
from transformers import Sam2ImageProcessor

from tests.tracker.little import little_picture, little_tracker
from tracker import GeneratorOptions, ImagePredictor, MaskGenerator, PreparedImage, Segment
from tracker.pictures.point_grids import crops_of, layered_grids
from tracker.scenes import Match

# The embedded model is unsure of itself: these are its more confident masks.
NANO = {"pred_iou_thresh": 0.2, "stability_score_thresh": 0.3, "stability_score_offset": 0.2}
SIDE = 6
Box = tuple[int, int, int, int]


@cache
def nano() -> ImagePredictor:
    return ImagePredictor.from_checkpoint("nano", device="cpu")


@cache
def scene() -> np.ndarray:
    return Match(1, 300, 200).render(20).image


def options(**changes: Any) -> GeneratorOptions:
    return GeneratorOptions(**({"points_per_side": SIDE} | NANO | changes))


def generator(**changes: Any) -> MaskGenerator:
    return MaskGenerator(nano(), options(**changes))


@torch.inference_mode()
def answers(crop: np.ndarray, points: np.ndarray, use_m2m: bool, multimask: bool) -> Any:
    """Logits (N, M, H, W) at a crop's size and predicted IoU (N, M), by plain predictions."""
    predictor, (height, width) = nano(), crop.shape[:2]
    size = predictor.config.image_size
    pixels = torch.from_numpy(crop.copy()).permute(2, 0, 1)[None].float()
    resized = F.interpolate(pixels, (size, size), mode="bilinear", antialias=True)
    predictor.set_embeddings(predictor.encode([PreparedImage(resized, height, width)]))
    asked = (points * (width, height))[:, None]
    found = predictor.predict(asked, multimask=multimask, logits=True)
    if use_m2m:
        masks = found.low_resolution_logits
        before = masks.reshape(-1, 1, *masks.shape[-2:])
        again = np.repeat(asked, masks.shape[1], axis=0)
        found = predictor.predict(again, previous_logits=before, multimask=False, logits=True)
    return torch.from_numpy(found.masks), torch.from_numpy(found.predicted_iou)


def expected(given: GeneratorOptions) -> list[tuple[np.ndarray, float, Box]]:
    """Mask, predicted IoU and crop of everything that `transformers` keeps of the answers."""
    theirs, image = Sam2ImageProcessor(), scene()
    assert given.points_per_side is not None
    grids = layered_grids(
        given.points_per_side, given.crop_n_layers, given.crop_n_points_downscale_factor
    )
    kept = []
    crops = crops_of(*image.shape[:2], given.crop_n_layers, given.crop_overlap_ratio)
    for box, layer in crops:
        x0, y0, x1, y1 = box
        part = image[y0:y1, x0:x1]
        logits, iou = answers(part, grids[layer], given.use_m2m, given.multimask_output)
        masks, scores, boxes = theirs.filter_masks(
            logits,
            iou,
            image.shape[:2],
            box,
            given.pred_iou_thresh,
            given.stability_score_thresh,
            given.mask_threshold,
            given.stability_score_offset,
        )
        some = theirs.post_process_for_mask_generation(masks, scores, boxes, given.box_nms_thresh)
        kept += [(*each, box) for each in zip(*some[:2], some[3], strict=True)]
    order = np.array([-1 / ((x1 - x0) * (y1 - y0)) for *_, (x0, y0, x1, y1) in kept])
    if len(crops) > 1:
        boxes = torch.stack([box for _, _, box, _ in kept]).float()
        again = nms(boxes, torch.from_numpy(-order).float(), given.crop_nms_thresh)
        kept = [kept[place] for place in again.tolist()]
    return [(np.asarray(mask), float(iou), crop) for mask, iou, _, crop in kept]


def overlap(ours: np.ndarray, theirs: np.ndarray) -> float:
    return float((ours & theirs).sum() / (ours | theirs).sum())


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"multimask_output": False, "pred_iou_thresh": 0.3, "points_per_batch": 7},
        {"use_m2m": True, "points_per_side": 3},
        {"mask_threshold": -0.3, "box_nms_thresh": 0.4},
        {"crop_n_layers": 1, "crop_n_points_downscale_factor": 2, "crop_nms_thresh": 0.5},
        {"pred_iou_thresh": 0.0, "points_per_side": 4},
    ],
    ids=str,
)
def test_the_same_masks_as_without_any_shortcut(changes: dict[str, Any]) -> None:
    ours = generator(**changes).segments(scene())
    theirs = expected(options(**changes))
    assert len(ours) == len(theirs) >= 3
    for own, (mask, iou, crop) in zip(ours, theirs, strict=True):
        assert overlap(own.mask, mask) > 0.99
        assert own.predicted_iou == pytest.approx(iou, abs=1e-4)
        assert own.crop_box_xyxy == crop


def records(mode: str) -> list[dict[str, Any]]:
    return generator(output_mode=mode).generate(scene())


def test_records_have_the_fields_of_the_reference_in_each_mode() -> None:
    segments = generator().segments(scene())
    for own, binary, plain, packed in zip(
        segments, *map(records, ("binary_mask", "uncompressed_rle", "coco_rle")), strict=True
    ):
        mask = binary["segmentation"]
        assert mask.shape == scene().shape[:2]
        assert mask.dtype == np.bool_
        np.testing.assert_array_equal(own.mask, mask)
        height, width = mask.shape
        theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert coco.frPyObjects(plain["segmentation"], height, width) == theirs
        assert packed["segmentation"] == theirs | {"counts": theirs["counts"].decode()}
        assert own.area == binary["area"] == mask.sum()
        x, y, box_width, box_height = binary["bbox"]
        assert (x, y, x + box_width + 1, y + box_height + 1) == own.box_xyxy
        assert binary["crop_box"] == [0, 0, width, height]
        ((point_x, point_y),) = binary["point_coords"]
        assert 0 < point_x < width
        assert 0 < point_y < height
        assert binary["predicted_iou"] > NANO["pred_iou_thresh"]
        assert binary["stability_score"] >= NANO["stability_score_thresh"]


def test_supervision_takes_the_records() -> None:
    found = records("binary_mask")
    detections = Detections.from_sam(found)
    assert len(detections) == len(found)
    assert detections.mask is not None
    assert sorted(detections.mask.sum(axis=(1, 2))) == sorted(each["area"] for each in found)


def test_small_regions_go_and_no_other_mask_changes() -> None:
    least = 60
    before = generator(box_nms_thresh=1.0).segments(scene())
    after = generator(box_nms_thresh=1.0, min_mask_region_area=least).segments(scene())
    assert len(after) == len(before)

    def regions(segment: Segment) -> Sequence[int]:
        stats = cv2.connectedComponentsWithStats(segment.mask.astype(np.uint8), connectivity=8)[2]
        return stats[1:, cv2.CC_STAT_AREA].tolist()

    assert any(min(regions(each)) < least for each in before)
    assert all(len(sizes := regions(each)) == 1 or min(sizes) >= least for each in after)


def test_own_points_instead_of_a_grid() -> None:
    points = layered_grids(SIDE, 0, 1)
    own = generator(points_per_side=None, point_grids=points).segments(scene())
    assert [each.point_xy for each in own] == [
        each.point_xy for each in generator().segments(scene())
    ]


def test_passes_of_any_size_find_the_same() -> None:
    search = generator().search(scene(), points_per_pass=lambda: 5)
    passes = 0
    while True:
        try:
            next(search)
            passes += 1
        except StopIteration as end:
            found = end.value
            break
    assert passes == 1 + -(-(SIDE**2) // 5)
    whole = generator().segments(scene())
    assert [each.box_xyxy for each in found] == [each.box_xyxy for each in whole]


def test_a_picture_without_anything_has_no_masks() -> None:
    assert generator(pred_iou_thresh=1.0).generate(scene()) == []
    assert generator(pred_iou_thresh=1.0, crop_n_layers=1).generate(scene()) == []


@pytest.mark.parametrize("size", [(1, 1), (2, 90), (700, 3)])
def test_the_smallest_pictures(size: tuple[int, int]) -> None:
    everything = GeneratorOptions(
        points_per_side=1, pred_iou_thresh=0, stability_score_thresh=0, crop_n_layers=1
    )
    for record in MaskGenerator(nano(), everything).generate(little_picture(0, *size)):
        assert record["segmentation"].shape == size
        assert record["area"] > 0


def test_what_is_no_picture_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"RGB uint8 \(height, width, 3\), got float64 \(4, 4\)"):
        generator().search(np.zeros((4, 4)))
    prepared = nano().prepare(scene())
    with pytest.raises(ValueError, match="crop_n_layers must be 0 for a picture that was prepared"):
        generator(crop_n_layers=1).search(prepared)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"points_per_side": 0}, "points_per_side must be a whole number 1..256, got 0"),
        ({"points_per_side": 2.5}, "points_per_side must be a whole number 1..256, got 2.5"),
        ({"points_per_side": None}, "give points_per_side or point_grids"),
        ({"pred_iou_thresh": 1.5}, "pred_iou_thresh must be a number 0.0..1.0, got 1.5"),
        ({"crop_n_layers": 9}, "crop_n_layers must be a whole number 0..4, got 9"),
        ({"mask_threshold": float("nan")}, "mask_threshold must be"),
        ({"output_mode": "png"}, "output_mode must be one of binary_mask, uncompressed_rle"),
        (
            {"points_per_side": None, "point_grids": [[[0.5, 0.5]]], "crop_n_layers": 1},
            "point_grids must hold a grid for each layer: 2 with crop_n_layers 1, got 1",
        ),
    ],
)
def test_options_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GeneratorOptions(**changes)


def test_a_grid_that_is_none() -> None:
    with pytest.raises(ValueError, match="within 0..1"):
        generator(points_per_side=None, point_grids=[[[0.5, 3]]])
    with pytest.raises(ValueError, match=r"must be \(K, 2\), got \(2,\)"):
        generator(points_per_side=None, point_grids=[[1, 2]])


def test_the_trackers_own_network_is_left_as_it_is() -> None:
    tracker = little_tracker()
    before = {name: value.clone() for name, value in tracker.model().state_dict().items()}
    predictor = ImagePredictor(tracker.model(), tracker.device)
    MaskGenerator(predictor, options()).generate(little_picture(0))
    for name, value in tracker.model().state_dict().items():
        assert torch.equal(value, before[name])
