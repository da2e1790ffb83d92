"""What the network asks of an image trunk, whichever it is.

Dimensions: B batch, C channels, H W grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Trunk(nn.Module):
    """Normalised image (B, 3, H, W) -> four maps, finest first, at strides 4, 8, 16 and 32.

    Or one map, at stride 16. Their channels are the ``stage_widths`` of the trunk's config.
    ``forward`` is the subclass's; the other methods are for trunks that have something to say.

    ``narrow_dtype``: what a CUDA device computes the image encoder in where the network is computed
    in bfloat16, which has 8 bits and the range of float32. ``fused``: what takes the trunk and the
    image in place of ``forward``, where ``engine.device_trunk`` found that it works.
    """

    narrow_dtype = torch.bfloat16
    fused: Callable[[Any, Tensor], list[Tensor]] | None = None

    def fix_constants(self, image_size: int) -> None:
        """Cache what depends on parameters and the image size; neither must change after."""

    def forget_constants(self) -> None:
        """Drop what ``fix_constants`` cached."""

    def coarse_products(self) -> Iterable[nn.Module]:
        """The parts that a CPU may compute in bfloat16 with little change of the masks."""
        return ()

    def position_tables(self) -> list[nn.Parameter]:
        """Learned tables that are added to tokens: they start small when training from nothing."""
        return []
