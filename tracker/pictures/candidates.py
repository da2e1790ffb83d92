"""Low-resolution logits to stable masks of the picture's size, as runs.

Stability is measured at the picture's size, as the reference does. On a processor only the part of
the picture where a logit can pass the lowest threshold is computed, one mask at a time; on a device
a few whole masks at a time, of which only the ends of the runs are transferred.

Dimensions: n candidates, h w mask grid, H W picture.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import Tensor

from tracker.images.transforms import resize_logits
from tracker.masks.positive_region import upsampled_region
from tracker.pictures.runs import Runs, runs_of

# Full-size logits on a device at once.
_CHUNK_BYTES = 256 << 20


class StableMask(NamedTuple):
    """A mask that passed, and its row among the candidates; runs in the picture's pixels."""

    row: int
    stability: float
    runs: Runs


def stable_masks(
    logits_nhw: Tensor, height: int, width: int, threshold: float, offset: float, least: float
) -> Iterator[StableMask]:
    """The candidates of a stability of at least ``least`` that are not empty.

    ``logits_nhw`` float32; the mask is where they, upsampled, are above ``threshold``.
    """
    above_nhw = logits_nhw - (threshold - offset)  # positive: above the lowest threshold
    if logits_nhw.device.type == "cpu":
        for row, above_hw in enumerate(above_nhw):
            x, y, values_rr = upsampled_region(above_hw, height, width)
            yield from _stable(row, x, y, values_rr[None], offset, least)
        return
    step = max(1, _CHUNK_BYTES // (4 * height * width))
    for row in range(0, len(above_nhw), step):
        values = resize_logits(above_nhw[row : row + step, None], height, width)
        yield from _stable(row, 0, 0, values[:, 0], offset, least)


def _stable(
    row: int, x: int, y: int, values_nrr: Tensor, offset: float, least: float
) -> Iterator[StableMask]:
    sizes = [(values_nrr > bound).flatten(1).sum(dim=1) for bound in (2 * offset, 0.0)]
    stability_n = (sizes[0] / sizes[1]).nan_to_num_()
    places = (stability_n >= least).nonzero(as_tuple=True)[0]
    scores = stability_n[places].tolist()
    masks = runs_of(values_nrr[places] > offset)
    for place, stability, runs in zip(places.tolist(), scores, masks, strict=True):
        if len(runs.column):
            yield StableMask(row + place, stability, runs.moved(x, y))
