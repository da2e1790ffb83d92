"""Everything in a picture: our generator beside that of the package ``sam2``, one after the other.

    python -m benchmarks.mask_generator --model sam2.1_hiera_tiny --random photo.jpg

Both have the same weights and options. CPU seconds of one thread are compared, so that other work
on the machine matters little; and masks, by their overlap.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from pycocotools import mask as coco

from benchmarks.official_predictor import build_image_model
from tests.tracker.agreement.scripts import model_with, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tracker import PRESETS, GeneratorOptions, ImagePredictor, MaskGenerator, ModelConfig
from tracker.weights.checkpoint import load_checkpoint

SAME = 0.99  # IoU from which on two masks are one


def main() -> None:
    """Run both and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--model", default="sam2.1_hiera_tiny")
    parser.add_argument("--random", action="store_true", help="random weights instead of a file")
    parser.add_argument("--image-size", type=int, default=1024)
    parser.add_argument("--points-per-side", type=int, default=32)
    parser.add_argument("--pred-iou", type=float, default=0.8)
    parser.add_argument("--stability", type=float, default=0.95)
    parser.add_argument("--box-nms", type=float, default=0.7)
    given = parser.parse_args()
    torch.set_num_threads(1)
    config = PRESETS[given.model].replaced(image_size=given.image_size)
    weights = _weights(config, given.model, random=given.random)
    options = {
        "points_per_side": given.points_per_side,
        "pred_iou_thresh": given.pred_iou,
        "stability_score_thresh": given.stability,
        "box_nms_thresh": given.box_nms,
        "output_mode": "coco_rle",
    }
    picture = np.asarray(Image.open(given.picture).convert("RGB"))
    theirs, their_s = _timed(_their_generator(config, weights, options), picture)
    predictor = ImagePredictor(model_with(config, weights), torch.device("cpu"))
    ours, our_s = _timed(MaskGenerator(predictor, GeneratorOptions(**options)).generate, picture)
    print(f"sam2     {their_s:7.2f} s of CPU, {len(theirs)} masks")
    print(f"masklet  {our_s:7.2f} s of CPU, {len(ours)} masks: {their_s / our_s:.2f} times as fast")
    print(f"masks of sam2 that masklet found (IoU {SAME}): {_matched(theirs, ours)}; vice versa: "
          f"{_matched(ours, theirs)}")  # fmt: skip


def _weights(config: ModelConfig, name: str, *, random: bool) -> dict[str, torch.Tensor]:
    if random:
        return amplified_weights(shapes_of(config), seed=3)
    return dict(load_checkpoint(name).state_dict())


def _their_generator(
    config: ModelConfig, weights: dict[str, torch.Tensor], options: dict[str, Any]
) -> Callable[[Any], list[dict[str, Any]]]:
    model = build_image_model(config, weights)
    from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

    generator = SAM2AutomaticMaskGenerator(model, **options)
    # The package writes these for 1024 pixels only.
    sizes = [(config.image_size // stride,) * 2 for stride in (4, 8, 16)]
    generator.predictor._bb_feat_sizes = sizes
    generate: Callable[[Any], list[dict[str, Any]]] = generator.generate
    return generate


def _timed(
    generate: Callable[[Any], list[dict[str, Any]]], picture: Any
) -> tuple[list[dict[str, Any]], float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the package, about its CUDA extension
        began_s = time.process_time()
        found = generate(picture)
        return found, time.process_time() - began_s


def _matched(these: list[dict[str, Any]], those: list[dict[str, Any]]) -> str:
    masks = [[each["segmentation"] for each in some] for some in (these, those)]
    if not these or not those:
        return f"0 of {len(these)}"
    overlaps = np.asarray(coco.iou(*masks, [0] * len(those)))
    return f"{int((overlaps.max(axis=1) >= SAME).sum())} of {len(these)}"


if __name__ == "__main__":
    main()
