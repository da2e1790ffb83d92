"""The prompt encoder: points, boxes and masks to embeddings (arXiv 2304.02643, section 3).

Dimensions: N objects, K points, C channels, H W token grid, h w the grid of mask prompts (4 × H).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tracker.config import ModelConfig
from tracker.model.layers import LayerNorm2d
from tracker.model.position_encoding import RandomFourierPosition

PADDING, NEGATIVE, POSITIVE, BOX_FIRST, BOX_LAST = -1, 0, 1, 2, 3


class PromptEmbedding(NamedTuple):
    """``sparse_NKC``: a token per point, the padding token last. ``dense_NCHW``: of the mask."""

    sparse_NKC: Tensor
    dense_NCHW: Tensor


class PromptEncoder(nn.Module):
    """SAM's prompt encoder; box corners are points with labels 2 and 3."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, mask_width = config.hidden_dim, config.mask_prompt_channels
        self.image_size = config.image_size
        self.grid_size = config.grid_size
        self.pe_layer = RandomFourierPosition(width)
        self._fixed_position: Tensor | None = None
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(4))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.no_mask_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_width // 4, kernel_size=2, stride=2),
            LayerNorm2d(mask_width // 4),
            nn.GELU(),
            nn.Conv2d(mask_width // 4, mask_width, kernel_size=2, stride=2),
            LayerNorm2d(mask_width),
            nn.GELU(),
            nn.Conv2d(mask_width, width, kernel_size=1),
        )

    def forward(
        self, points_NK2: Tensor, labels_NK: Tensor, mask_logits_N1hw: Tensor | None
    ) -> PromptEmbedding:
        """Embed points in model pixels and, if given, mask logits of a quarter of the image size.

        One padding point is appended; an object without any point has K = 1 with label -1, as in
        training.
        """
        padding_N12 = points_NK2.new_zeros(points_NK2.shape[0], 1, 2)
        points = torch.cat((points_NK2 + 0.5, padding_N12), dim=1)
        labels = F.pad(labels_NK, (0, 1), value=PADDING)
        code_NKC = self.pe_layer(points / self.image_size)
        # Row 0 is the padding token, which carries no position; rows 1..4 are labels 0..3.
        table = torch.cat(
            [
                self.not_a_point_embed.weight,
                *(e.get_parameter("weight") for e in self.point_embeddings),
            ]
        )
        is_point = (labels != PADDING).unsqueeze(2)
        sparse = torch.where(is_point, code_NKC, 0.0) + table[labels + 1]
        if mask_logits_N1hw is None:
            dense = self.no_mask_embed.weight[:, :, None, None].expand(
                points.shape[0], -1, self.grid_size, self.grid_size
            )
        else:
            dense = self.mask_downscaling(mask_logits_N1hw)
        return PromptEmbedding(sparse, dense)

    def resize(self, image_size: int, grid_size: int) -> None:
        """Switch to another image size, in whose pixels prompts are given."""
        self.image_size, self.grid_size = image_size, grid_size
        self._fixed_position = None

    def fix_position(self) -> None:
        """Cache the code of the token grid; the projection must not change afterwards."""
        with torch.no_grad():
            self._fixed_position = self.dense_position()

    def dense_position(self) -> Tensor:
        """The position code of the token grid that the mask decoder adds to keys: (C, H, W)."""
        fixed = self._fixed_position
        return self.pe_layer.grid(self.grid_size) if fixed is None else fixed
