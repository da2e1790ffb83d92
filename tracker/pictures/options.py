"""How masks of single pictures are made; imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tracker.options import ComputeDtype


@dataclass(frozen=True, slots=True)
class PictureOptions:
    """Options of a predictor; the defaults are the reference's.

    ``mask_threshold``: a pixel belongs to a mask if its logit is above. ``fill_hole_area`` and
    ``remove_speck_area``: holes and separate specks of up to this many cells of the low-resolution
    mask are removed (0: none). ``compute_dtype`` as in ``TrackerOptions``. ``image_size``: a
    multiple of 32, other than the network was trained with; None as trained. ``closer_look``: ask
    the mirror image too, and what is small in its picture of the part around it once more
    (``closer_look.py``), for an encoder's time each; None: where the network sees fewer than 512
    pixels.
    """

    mask_threshold: float = 0.0
    fill_hole_area: int = 0
    remove_speck_area: int = 0
    compute_dtype: ComputeDtype = "auto"
    image_size: int | None = None
    closer_look: bool | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.mask_threshold):
            raise ValueError(f"mask_threshold must be finite, got {self.mask_threshold}")
        for name in ("fill_hole_area", "remove_speck_area"):
            if not 0 <= getattr(self, name) <= 64:
                raise ValueError(f"{name} must be 0..64, got {getattr(self, name)}")
        if self.image_size is not None and (self.image_size < 32 or self.image_size % 32):
            raise ValueError(f"image_size must be a multiple of 32, got {self.image_size}")
