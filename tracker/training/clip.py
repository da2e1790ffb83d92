"""A batch of training clips with their true masks.

Dimensions: B clips, T frames, K objects of a clip, S image side, N = B * K objects in all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

SMALLEST_FIRST_AREA_PIXELS = 20
"""An object smaller than this on the first frame cannot be prompted and counts for nothing."""


@dataclass(frozen=True, slots=True)
class ClipBatch:
    """Images (B, T, 3, S, S) float in 0..1 and masks (B, T, K, S, S) bool of visible pixels."""

    images_BT3SS: Tensor
    masks_BTKSS: Tensor

    @property
    def clips(self) -> int:
        """B."""
        return self.images_BT3SS.shape[0]

    @property
    def frames(self) -> int:
        """T."""
        return self.images_BT3SS.shape[1]

    def masks_of_frame(self, frame: int) -> Tensor:
        """(N, S, S) bool; the objects of a clip are consecutive."""
        return self.masks_BTKSS[:, frame].flatten(0, 1)

    def counted(self) -> Tensor:
        """(N,) bool: objects visible enough on the first frame to be prompted."""
        return self.masks_of_frame(0).sum(dim=(1, 2)) > SMALLEST_FIRST_AREA_PIXELS

    def counted_rows(self) -> Tensor:
        """(M,) indexes of the objects that count; one other if there would be none."""
        rows = self.counted().nonzero().squeeze(1)
        return rows if len(rows) else torch.zeros(1, dtype=torch.long, device=rows.device)

    def image_of_object(self) -> Tensor:
        """(N,) index of each object's clip."""
        objects = self.masks_BTKSS.shape[2]
        device = self.masks_BTKSS.device
        return torch.arange(self.clips, device=device).repeat_interleave(objects)


def join(batches: list[ClipBatch]) -> ClipBatch:
    """Several batches of equal length, object count and size as one."""
    return ClipBatch(
        torch.cat([batch.images_BT3SS for batch in batches]),
        torch.cat([batch.masks_BTKSS for batch in batches]),
    )
