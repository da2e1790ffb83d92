"""Hiera (arXiv 2306.00989), the image trunk: four stages of windowed attention.

Dimensions: B batch, H W grid, C channels, V windows, L tokens of a window.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tracker.config import HieraConfig
from tracker.model.chunking import in_chunks, rows_per_chunk
from tracker.model.layers import Mlp, attend, join_heads, split_heads
from tracker.model.onednn_linear import Linear
from tracker.model.trunk import Trunk


def to_windows(x_BHWC: Tensor, size: int) -> Tensor:
    """Cut (B, H, W, C) into (V, size, size, C), padding with zeros at the far edges.

    Padding tokens are attended like any other: the released weights expect it.
    """
    batch, height, width, channels = x_BHWC.shape
    right, below = -width % size, -height % size
    x = F.pad(x_BHWC, (0, 0, 0, right, 0, below)) if right or below else x_BHWC
    x = x.view(batch, x.shape[1] // size, size, x.shape[2] // size, size, channels)
    # A single row of windows would stay a view, which PyTorch multiplies row by row in bfloat16.
    return x.transpose(2, 3).reshape(-1, size, size, channels).contiguous()


def plus_windows(x_BHWC: Tensor, own_VSSC: Tensor) -> Tensor:
    """``x`` plus what was made of its windows, (V, size, size, C) -> (B, H, W, C)."""
    height, width, channels = x_BHWC.shape[1:]
    size = own_VSSC.shape[1]
    rows, columns = -(-height // size), -(-width // size)
    own = own_VSSC.view(-1, rows, columns, size, size, channels).transpose(2, 3)
    if height % size or width % size:
        own = own.reshape(-1, rows * size, columns * size, channels)
        return x_BHWC + own[:, :height, :width]
    tiles = x_BHWC.unflatten(2, (columns, size)).unflatten(1, (rows, size))
    total: Tensor = tiles + own
    return total.flatten(3, 4).flatten(1, 2)


def halve(x_BHWC: Tensor) -> Tensor:
    """2×2 max pooling of (B, H, W, C)."""
    if x_BHWC.is_cuda and not torch.is_grad_enabled():
        # The pooling kernel writes an index of 8 bytes beside every number.
        squares: Tensor = x_BHWC.unflatten(2, (-1, 2)).unflatten(1, (-1, 2))
        return squares.amax(dim=(2, 4))
    return F.max_pool2d(x_BHWC.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)


class WindowAttention(nn.Module):
    """Self-attention inside one window; with ``pooled`` the queries are 2×2 max-pooled."""

    def __init__(self, width_in: int, width_out: int, heads: int, pooled: bool) -> None:
        super().__init__()
        self.heads = heads
        self.pooled = pooled
        self.qkv = Linear(width_in, 3 * width_out)
        self.proj = Linear(width_out, width_out)

    def forward(self, x_VHWC: Tensor) -> Tensor:
        """(V, H, W, C) -> (V, H or H / 2, W or W / 2, width_out)."""
        query, key, value = self.qkv(x_VHWC).chunk(3, dim=3)
        if self.pooled:
            query = halve(query)
        height, width = query.shape[1:3]
        attended = attend(
            split_heads(query.flatten(1, 2), self.heads),
            split_heads(key.flatten(1, 2), self.heads),
            split_heads(value.flatten(1, 2), self.heads),
        )
        out: Tensor = self.proj(join_heads(attended)).unflatten(1, (height, width))
        return out


class HieraBlock(nn.Module):
    """Norm, windowed attention, norm, MLP; the first block of a stage halves the grid.

    ``window`` 0: attention over the whole grid.
    """

    def __init__(
        self, width_in: int, width_out: int, heads: int, window: int, pooled: bool
    ) -> None:
        super().__init__()
        self.window = window
        self.pooled = pooled
        self.norm1 = nn.LayerNorm(width_in, eps=1e-6)
        self.attn = WindowAttention(width_in, width_out, heads, pooled)
        self.norm2 = nn.LayerNorm(width_out, eps=1e-6)
        self.mlp = Mlp((width_out, 4 * width_out, width_out), nn.GELU)
        self.proj = Linear(width_in, width_out) if width_in != width_out else None

    def forward(self, x_BHWC: Tensor) -> Tensor:
        """(B, H, W, width_in) -> (B, H or H / 2, W or W / 2, width_out).

        On a CPU without gradients ``x`` may be overwritten by the result.
        """
        batch, height, width, _ = x_BHWC.shape
        window = self.window or height
        floats = batch * width * window * 4 * self.attn.proj.out_features
        strip = window * rows_per_chunk(x_BHWC, floats)
        if strip >= height:
            return self._whole(x_BHWC)
        # Rows of windows are independent: each result can overwrite its input.
        out, shrink = x_BHWC, 2 if self.pooled else 1
        for begin in range(0, height, strip):
            made = self._whole(x_BHWC[:, begin : begin + strip])
            if begin == 0 and self.pooled:
                out = made.new_empty(batch, height // 2, width // 2, made.shape[3])
            out[:, begin // shrink : (begin + strip) // shrink] = made
        return out

    def _whole(self, x_BHWC: Tensor) -> Tensor:
        shortcut = x_BHWC
        x = self.norm1(x_BHWC)
        if self.proj is not None:
            # The residual sum keeps its precision, whatever the dtype of the products.
            shortcut = self.proj(x).to(x_BHWC.dtype)
        if self.pooled:
            shortcut = halve(shortcut)
        if self.window:
            x = plus_windows(shortcut, self.attn(to_windows(x, self.window)))
        else:
            x = shortcut + self.attn(x)
        x = x.flatten(0, 2)
        x = in_chunks(self._feed_forward, x, 4 * x.shape[1])
        return x.view(shortcut.shape)

    def _feed_forward(self, x_RC: Tensor) -> Tensor:
        out: Tensor = x_RC + self.mlp(self.norm2(x_RC))
        return out


class PatchEmbedding(nn.Module):
    """A convolution: image to tokens."""

    def __init__(self, width: int, kernel: int, stride: int, padding: int = 0) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, kernel, stride, padding)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, H / stride, W / stride, C)."""
        tokens: Tensor = self.proj(image_B3HW)
        return tokens.permute(0, 2, 3, 1)


class BlockTrunk(Trunk):
    """A trunk of such blocks: a subclass adds them, and ``_position``.

    ``pos_embed``: a learned table. ``stage_ends``: the blocks whose results are maps.
    """

    def __init__(self, patches: PatchEmbedding, pos_embed: Tensor) -> None:
        super().__init__()
        self.patch_embed = patches
        self.pos_embed = nn.Parameter(pos_embed)
        self._fixed_position: Tensor | None = None
        self.blocks = nn.ModuleList()
        self.stage_ends: list[int] = []

    def _position(self, height: int, width: int) -> Tensor:
        """The learned position table for a grid, (1, C, H, W)."""
        raise NotImplementedError

    def position_tables(self) -> list[nn.Parameter]:
        """Of the whole image."""
        return [self.pos_embed]

    def fix_constants(self, image_size: int) -> None:
        """Cache the position table of one grid; the parameters must not change afterwards."""
        rows, columns = (image_size // stride for stride in self.patch_embed.proj.stride)
        with torch.no_grad():
            self._fixed_position = self.position(rows, columns).contiguous()

    def forget_constants(self) -> None:
        """Drop the cached position table: compute it for every image again."""
        self._fixed_position = None

    def position(self, height: int, width: int) -> Tensor:
        """The learned position table for a grid, (1, H, W, C)."""
        fixed = self._fixed_position
        if fixed is not None and fixed.shape[1:3] == (height, width):
            return fixed
        first = self.blocks[0]
        assert isinstance(first, HieraBlock)
        # The residual sum begins with it, and has the dtype of its norms.
        return self._position(height, width).permute(0, 2, 3, 1).to(first.norm1.weight.dtype)

    def forward(self, image_B3HW: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> (B, C, H / stride, W / stride) maps, finest first."""
        if self.fused is not None and not torch.is_grad_enabled():
            return self.fused(self, image_B3HW)
        x = self.patch_embed(image_B3HW)
        position = self.position(x.shape[1], x.shape[2])
        in_place = x.dtype == position.dtype and not torch.is_grad_enabled()
        x = x.add_(position) if in_place else x + position
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.stage_ends:
                maps.append(x.permute(0, 3, 1, 2))
        return maps


class Hiera(BlockTrunk):
    """Image to four feature maps at strides 4, 8, 16 and 32."""

    def __init__(self, config: HieraConfig) -> None:
        width, heads = config.embed_dim, config.num_heads
        super().__init__(
            PatchEmbedding(width, kernel=7, stride=4, padding=3),
            torch.zeros(1, width, *config.background_size),
        )
        first_window = config.window_sizes[0]
        self.pos_embed_window = nn.Parameter(torch.zeros(1, width, first_window, first_window))
        for stage, depth in enumerate(config.stages):
            for place in range(depth):
                opens_stage = stage > 0 and place == 0
                index = len(self.blocks)
                # The first block of a stage still works in the window of the stage before.
                window = config.window_sizes[stage - 1 if opens_stage else stage]
                if index in config.global_attention_blocks:
                    window = 0
                width_out = 2 * width if opens_stage else width
                heads = 2 * heads if opens_stage else heads
                self.blocks.append(HieraBlock(width, width_out, heads, window, opens_stage))
                width = width_out
            self.stage_ends.append(len(self.blocks) - 1)

    def coarse_products(self) -> Iterator[nn.Module]:
        """In the last two stages, which contribute only to the map of stride 16."""
        for block in self.blocks[self.stage_ends[1] + 1 :]:
            assert isinstance(block, HieraBlock)
            yield block.attn.qkv
            yield block.mlp

    def position_tables(self) -> list[nn.Parameter]:
        """Of the whole image and of one window."""
        return [self.pos_embed, self.pos_embed_window]

    def _position(self, height: int, width: int) -> Tensor:
        """The stretched background plus tiled windows."""
        background = F.interpolate(self.pos_embed, size=(height, width), mode="bicubic")
        side = self.pos_embed_window.shape[2]
        tiles = self.pos_embed_window.tile(1, 1, -(-height // side), -(-width // side))
        return background + tiles[:, :, :height, :width]
