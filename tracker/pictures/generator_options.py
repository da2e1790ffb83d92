"""What ``MaskGenerator`` looks for, under the names of the reference's generator; no torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy.typing as npt

OutputMode = Literal["binary_mask", "uncompressed_rle", "coco_rle"]
MOST_POINTS_PER_SIDE = 256
_RANGES = {
    "points_per_side": (1, MOST_POINTS_PER_SIDE),
    "points_per_batch": (1, 4096),
    "crop_n_layers": (0, 4),
    "crop_n_points_downscale_factor": (1, 256),
    "min_mask_region_area": (0, 2**31),
    "pred_iou_thresh": (0.0, 1.0),
    "stability_score_thresh": (0.0, 1.0),
    "stability_score_offset": (0.0, math.inf),
    "mask_threshold": (-math.inf, math.inf),
    "box_nms_thresh": (0.0, 1.0),
    "crop_nms_thresh": (0.0, 1.0),
    "crop_overlap_ratio": (0.0, 1.0),
}


# The embedded model is small: its logits are flat and it rates its own masks low. With the
# reference's thresholds it finds nothing; these are its more confident masks, by eye.
_OF_NANO = {
    "pred_iou_thresh": 0.4,
    "stability_score_thresh": 0.6,
    "stability_score_offset": 0.5,
}


@dataclass(frozen=True, slots=True, eq=False)
class GeneratorOptions:
    """Options of a generator; names, meanings and defaults are the reference's.

    ``points_per_side``: the picture is asked at a square grid of points; or ``point_grids``: own
    points for each layer of crops, (K, 2) in 0..1. ``points_per_batch`` go through the decoder at
    once. A mask is kept if its predicted IoU is above ``pred_iou_thresh`` and its stability (the
    IoU of the masks at ``mask_threshold`` plus and minus ``stability_score_offset``) at least
    ``stability_score_thresh``; 0 keeps all. Of two masks whose boxes overlap by more than
    ``box_nms_thresh`` the one of higher predicted IoU stays.

    ``crop_n_layers``: the picture is searched again in 2×2, 4×4, … crops, which overlap by
    ``crop_overlap_ratio``, each with a grid whose side is divided by
    ``crop_n_points_downscale_factor`` per layer; of duplicates between crops
    (``crop_nms_thresh``) the one from the smaller crop stays. ``min_mask_region_area``: holes and
    separate regions of fewer pixels are removed. ``use_m2m``: each mask is refined once by a
    prompt of its point and itself. ``multimask_output``: three masks for each point, not one.
    """

    points_per_side: int | None = 32
    points_per_batch: int = 64
    pred_iou_thresh: float = 0.8
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    mask_threshold: float = 0.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    point_grids: Sequence[npt.ArrayLike] | None = None
    min_mask_region_area: int = 0
    output_mode: OutputMode = "binary_mask"
    use_m2m: bool = False
    multimask_output: bool = True

    @classmethod
    def suited(cls, model_name: str, **changes: Any) -> GeneratorOptions:
        """The defaults with thresholds that suit a model (``ModelConfig.name``), and changes."""
        own = _OF_NANO if model_name.startswith("nano") else {}
        return cls(**(own | changes))

    def __post_init__(self) -> None:
        if (self.points_per_side is None) == (self.point_grids is None):
            raise ValueError(
                "give points_per_side or point_grids, not both and not neither; "
                "with point_grids set points_per_side to None"
            )
        for field in fields(self):
            if field.name not in _RANGES or (value := getattr(self, field.name)) is None:
                continue
            least, most = _RANGES[field.name]
            whole = isinstance(least, int)
            if (whole and not isinstance(value, int)) or not least <= value <= most:
                kind = "a whole number" if whole else "a number"
                raise ValueError(f"{field.name} must be {kind} {least}..{most}, got {value!r}")
        if not math.isfinite(self.mask_threshold) or math.isinf(self.stability_score_offset):
            raise ValueError("mask_threshold and stability_score_offset must be finite")
        modes = OutputMode.__args__  # type: ignore[attr-defined]
        if self.output_mode not in modes:
            raise ValueError(
                f"output_mode must be one of {', '.join(modes)}, got {self.output_mode!r}"
            )
        if self.point_grids is not None and len(self.point_grids) <= self.crop_n_layers:
            raise ValueError(
                f"point_grids must hold a grid for each layer: {self.crop_n_layers + 1} with "
                f"crop_n_layers {self.crop_n_layers}, got {len(self.point_grids)}"
            )
