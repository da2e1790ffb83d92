"""One mask that a ``MaskGenerator`` found, and its record in the reference's form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tracker.pictures.generator_options import OutputMode
from tracker.pictures.runs import Runs, compressed
from tracker.types import MaskArray


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A mask of a picture of ``height`` × ``width`` pixels, and where it comes from.

    ``predicted_iou`` 0..1 is the network's own estimate, ``stability_score`` 0..1 how little the
    mask changes with the threshold. ``point_xy``: the point that it answers, in pixels.
    ``crop_box_xyxy``: the part of the picture that was searched.
    """

    runs: Runs
    height: int
    width: int
    predicted_iou: float
    stability_score: float
    point_xy: tuple[float, float]
    crop_box_xyxy: tuple[int, int, int, int]

    @property
    def area(self) -> int:
        """The number of pixels."""
        return self.runs.area

    @property
    def box_xyxy(self) -> tuple[int, int, int, int]:
        """The half-open box."""
        return self.runs.box_xyxy

    @property
    def mask(self) -> MaskArray:
        """The mask at the picture's size, boolean; computed on demand."""
        return self.runs.bitmap((0, 0, self.width, self.height))

    @property
    def crop(self) -> MaskArray:
        """The mask inside its box."""
        return self.runs.bitmap(self.box_xyxy)

    def record(self, output_mode: OutputMode) -> dict[str, Any]:
        """The reference's fields, with its conventions.

        Boxes are x, y, width and height; the width and height of ``bbox`` are from the first to the
        last pixel, one less than their number.
        """
        x0, y0, x1, y1 = self.box_xyxy
        left, top, right, bottom = self.crop_box_xyxy
        return {
            "segmentation": self._segmentation(output_mode),
            "area": self.area,
            "bbox": [float(x0), float(y0), float(x1 - 1 - x0), float(y1 - 1 - y0)],
            "predicted_iou": self.predicted_iou,
            "point_coords": [list(self.point_xy)],
            "stability_score": self.stability_score,
            "crop_box": [float(left), float(top), float(right - left), float(bottom - top)],
        }

    def _segmentation(self, output_mode: OutputMode) -> MaskArray | dict[str, Any]:
        if output_mode == "binary_mask":
            return self.mask
        counts = self.runs.counts(self.height, self.width)
        return {
            "size": [self.height, self.width],
            "counts": compressed(counts) if output_mode == "coco_rle" else counts,
        }
