"""A plain vision transformer as an image trunk, as in ViTDet (arXiv 2203.16527): one map.

Its blocks are those of Hiera without pooling. EfficientTAM (arXiv 2411.18933) has it.

Dimensions: B batch, H W grid, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tracker.config import VitConfig
from tracker.model.hiera import BlockTrunk, HieraBlock, PatchEmbedding

_STRIDE = 16


class Vit(BlockTrunk):
    """Image to one feature map at stride 16."""

    def __init__(self, config: VitConfig) -> None:
        width = config.embed_dim
        super().__init__(
            PatchEmbedding(width, kernel=_STRIDE, stride=_STRIDE),
            # The first row is that of the class token of its first training; here it has no use.
            torch.zeros(1, 1 + config.position_side**2, width),
        )
        self.blocks.extend(
            HieraBlock(
                width,
                width,
                config.num_heads,
                0 if index in config.global_attention_blocks else config.window_size,
                pooled=False,
            )
            for index in range(config.depth)
        )
        self.stage_ends.append(config.depth - 1)

    def coarse_products(self) -> Iterator[nn.Module]:
        """In all blocks: they contribute only to the map of stride 16."""
        for block in self.blocks:
            assert isinstance(block, HieraBlock)
            yield block.attn.qkv
            yield block.mlp

    def _position(self, height: int, width: int) -> Tensor:
        """The table stretched to the grid."""
        table_1CL = self.pos_embed[:, 1:].mT
        side = round(table_1CL.shape[2] ** 0.5)
        table_1CPP = table_1CL.unflatten(2, (side, side))
        return F.interpolate(table_1CPP, size=(height, width), mode="bicubic")
