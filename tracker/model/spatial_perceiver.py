"""EdgeTAM's 2D spatial perceiver (arXiv 2501.07256, section 3.2): a memory in a few tokens.

Some latents read the whole memory map. Others, on a square grid of their own, each read the window
of the map that lies under them, and so keep its layout. Both go through the same layers.

Dimensions: N objects, c memory channels, H W token grid, Q latents, S tokens that they read.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tracker.config import PerceiverConfig
from tracker.model.layers import attend, tokens_from_grid
from tracker.model.onednn_linear import Linear

_EXPANSION = 4
_LAYERS = 2


def feed_forward(width: int) -> nn.Sequential:
    """Norm, widen, GELU, narrow; no biases."""
    return nn.Sequential(
        nn.LayerNorm(width),
        Linear(width, _EXPANSION * width, bias=False),
        nn.GELU(),
        Linear(_EXPANSION * width, width, bias=False),
    )


class SelfAttention(nn.Module):
    """One head, behind a norm, no biases."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.to_q = Linear(width, width, bias=False)
        self.to_kv = Linear(width, 2 * width, bias=False)
        self.to_out = Linear(width, width, bias=False)

    def forward(self, latent_NQc: Tensor) -> Tensor:
        """(N, Q, c) -> the same."""
        normed = self.norm(latent_NQc)
        key, value = self.to_kv(normed).chunk(2, dim=-1)
        out: Tensor = self.to_out(attend(self.to_q(normed), key, value))
        return out


class CrossAttention(nn.Module):
    """One head from latents to tokens, each behind its norm, no biases.

    The position code is added to projected keys and values.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_x = nn.LayerNorm(width)
        self.norm_latents = nn.LayerNorm(width)
        self.to_q = Linear(width, width, bias=False)
        self.to_kv = Linear(width, 2 * width, bias=False)
        self.to_out = Linear(width, width, bias=False)

    def forward(self, latent_NQc: Tensor, token_NSc: Tensor, code_Sc: Tensor | None) -> Tensor:
        """(N, Q, c) and (N, S, c) -> (N, Q, c)."""
        key, value = self.to_kv(self.norm_x(token_NSc)).chunk(2, dim=-1)
        if code_Sc is not None:
            key, value = key + code_Sc, value + code_Sc
        query = self.to_q(self.norm_latents(latent_NQc))
        out: Tensor = self.to_out(attend(query, key, value))
        return out


class PerceiverLayer(nn.Module):
    """The latents read the tokens, then each other."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn = CrossAttention(width)
        self.ff = feed_forward(width)
        self.self_attn = SelfAttention(width)
        self.self_ff = feed_forward(width)

    def forward(self, latent_NQc: Tensor, token_NSc: Tensor, code_Sc: Tensor | None) -> Tensor:
        """(N, Q, c) and (N, S, c) -> (N, Q, c)."""
        latent_NQc = latent_NQc + self.attn(latent_NQc, token_NSc, code_Sc)
        latent_NQc = latent_NQc + self.ff(latent_NQc)
        latent_NQc = latent_NQc + self.self_attn(latent_NQc)
        out: Tensor = latent_NQc + self.self_ff(latent_NQc)
        return out


class SpatialPerceiver(nn.Module):
    """A memory map to its tokens: first the latents of the whole map, then those with a place."""

    def __init__(self, config: PerceiverConfig, width: int) -> None:
        super().__init__()
        self._side = config.grid_side
        self.latents = nn.Parameter(torch.randn(config.latents, width))
        self.latents_2d = nn.Parameter(torch.randn(config.grid_side**2, width))
        self.layers = nn.ModuleList(PerceiverLayer(width) for _ in range(_LAYERS))
        self.norm = nn.LayerNorm(width)

    def forward(self, memory_NcHW: Tensor, code_cHW: Tensor) -> Tensor:
        """(N, c, H, W) and the code of its grid -> (N, Q, c); H and W are multiples of the side."""
        count = len(memory_NcHW)
        whole = self._read(
            self.latents.expand(count, -1, -1),
            tokens_from_grid(memory_NcHW),
            code_cHW.flatten(1).T,
        )
        # A window's latent sees no other: it is a batch entry of its own.
        alone = self.latents_2d.expand(count, -1, -1).flatten(0, 1).unsqueeze(1)
        placed = self._read(alone, windows(memory_NcHW, self._side), None)
        out: Tensor = self.norm(torch.cat((whole, placed.view(count, -1, whole.shape[2])), dim=1))
        return out

    def _read(self, latent_NQc: Tensor, token_NSc: Tensor, code_Sc: Tensor | None) -> Tensor:
        for layer in self.layers:
            latent_NQc = layer(latent_NQc, token_NSc, code_Sc)
        return latent_NQc


def windows(x_NcHW: Tensor, side: int) -> Tensor:
    """(N, c, H, W) cut into side × side windows, row by row -> (N * side², tokens, c)."""
    height, width = x_NcHW.shape[2] // side, x_NcHW.shape[3] // side
    x_NcRhKw: Tensor = x_NcHW.unflatten(3, (side, width)).unflatten(2, (side, height))
    return x_NcRhKw.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(0, 2)
