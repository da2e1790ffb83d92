"""The memory encoder: a frame's features and an object's mask to one spatial memory.

Dimensions: N objects, C channels, c memory channels, H W token grid.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tracker.config import ModelConfig
from tracker.model.chunking import objects_in_chunks
from tracker.model.layers import LayerNorm2d
from tracker.model.onednn_linear import Linear, Pointwise, activated

MASK_SCALE, MASK_BIAS = 20.0, -10.0


def scaled_mask(logits_N1hw: Tensor, prompted_N: Tensor, image_size: int) -> Tensor:
    """The encoder's masks (N, 1, S, S) in -10..10; those of prompted frames are binary."""
    size = image_size, image_size
    if torch.compiler.is_exporting():
        logits = _upsampled_by_products(logits_N1hw, image_size)
    else:
        logits = F.interpolate(logits_N1hw, size, mode="bilinear", align_corners=False)
    # In place: these have the image's size, and nothing else refers to them.
    positive = logits > 0
    soft = torch.where(prompted_N.view(-1, 1, 1, 1), positive, logits.sigmoid_())
    return soft.mul_(MASK_SCALE).add_(MASK_BIAS)


def _upsampled_by_products(logits_N1hw: Tensor, side: int) -> Tensor:
    """``F.interpolate`` as a product on each side: OpenVINO's takes five times as long."""
    one_hw = torch.eye(logits_N1hw.shape[-1], device=logits_N1hw.device)
    wide_hS = F.interpolate(one_hw[None], side, mode="linear", align_corners=False)[0]
    return wide_hS.T @ logits_N1hw @ wide_hS


class MaskDownsampler(nn.Module):
    """Four stride-2 convolutions, from a mask of the image's size to the token grid."""

    def __init__(self, width: int) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        channels = 1
        for _ in range(4):
            steps += [
                nn.Conv2d(channels, 4 * channels, kernel_size=3, stride=2, padding=1),
                LayerNorm2d(4 * channels),
                nn.GELU(),
            ]
            channels *= 4
        self.encoder = nn.Sequential(*steps, Pointwise(channels, width))

    def forward(self, mask_N1SS: Tensor) -> Tensor:
        """(N, 1, S, S) -> (N, C, S / 16, S / 16)."""
        out: Tensor = self.encoder(mask_N1SS)
        return out


class ConvNextBlock(nn.Module):
    """Depthwise 7×7, norm, two pointwise layers, layer scale (arXiv 2201.03545)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), 1e-6))
        self.dwconv = nn.Conv2d(width, width, kernel_size=7, padding=3, groups=width)
        self.norm = LayerNorm2d(width)
        self.pwconv1 = Linear(width, 4 * width)
        self.act = nn.GELU()
        self.pwconv2 = Linear(4 * width, width)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        x_NHWC = self.norm(self._mix_places(x_NCHW)).permute(0, 2, 3, 1)
        x_NHWC = self.gamma * self.pwconv2(activated(self.pwconv1, self.act, x_NHWC))
        out: Tensor = x_NCHW + x_NHWC.permute(0, 3, 1, 2)
        return out

    def _mix_places(self, x_NCHW: Tensor) -> Tensor:
        if x_NCHW.device.type == "cpu" and torch.is_grad_enabled():
            # On a CPU the gradient is four times faster this way, and exact.
            with torch.autocast("cpu", enabled=False):
                wide = x_NCHW.float().contiguous(memory_format=torch.channels_last)
                mixed: Tensor = self.dwconv(wide)
                return mixed
        plain: Tensor = self.dwconv(x_NCHW)
        return plain


class Fuser(nn.Module):
    """Two ConvNeXt blocks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ConvNextBlock(width) for _ in range(2))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) -> the same."""
        out = x_NCHW
        if x_NCHW.device.type == "cpu" and not torch.is_grad_enabled():
            # Norms and pointwise layers use channels last; this avoids copies between them.
            out = x_NCHW.contiguous(memory_format=torch.channels_last)
        for layer in self.layers:
            out = layer(out)
        return out


class MemoryEncoder(nn.Module):
    """Sum of projected features and downsampled mask, fused and narrowed."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.hidden_dim
        self.mask_downsampler = MaskDownsampler(width)
        self.pix_feat_proj = Pointwise(width, width)
        self.fuser = Fuser(width)
        self.out_proj = Pointwise(width, config.memory_dim)

    def forward(self, projected_NCHW: Tensor, mask_N1SS: Tensor) -> Tensor:
        """Features of N objects' own frames and N scaled masks -> (N, c, H, W).

        The features are those after ``pix_feat_proj``, which runs once per frame.
        """
        widest = 4 * projected_NCHW[0].numel()  # inside the fuser
        (memory,) = objects_in_chunks(self._encode, widest, projected_NCHW, mask_N1SS)
        return memory

    def _encode(self, projected_NCHW: Tensor, mask_N1SS: Tensor) -> tuple[Tensor]:
        return (self.out_proj(self.fuser(projected_NCHW + self.mask_downsampler(mask_N1SS))),)
