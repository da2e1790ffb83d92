"""What the network asks of an image trunk, whichever it is.

Dimensions: B batch, C channels, H W grid.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn


class Trunk(nn.Module):
    """Normalised image (B, 3, H, W) -> four maps, finest first, at strides 4, 8, 16 and 32.

    Their channels are the ``stage_widths`` of the trunk's config. ``forward`` is the subclass's;
    the other methods are for trunks that have something to say.
    """

    def fix_constants(self, height: int, width: int) -> None:
        """Cache what depends on parameters and the stride-4 grid; neither must change after."""

    def forget_constants(self) -> None:
        """Drop what ``fix_constants`` cached."""

    def coarse_products(self) -> Iterable[nn.Module]:
        """The parts that a CPU may compute in bfloat16 with little change of the masks."""
        return ()

    def position_tables(self) -> list[nn.Parameter]:
        """Learned tables that are added to tokens: they start small when training from nothing."""
        return []
