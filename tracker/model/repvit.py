"""RepViT (arXiv 2307.09283) as an image trunk: depthwise convolutions and pointwise layers.

Every convolution was trained with a batch norm behind it, and token mixers with parallel branches.
Here each is one convolution with a bias: ``tracker.weights.repvit_layout`` folds what a file holds.

Maps are channels last, so that a pointwise convolution is a linear layer over positions.

Dimensions: B batch, C channels, H W grid.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tracker.config import RepVitConfig
from tracker.model.chunking import in_chunks
from tracker.model.onednn_linear import Linear
from tracker.model.trunk import Trunk

_EXPANSION = 2


def depthwise(width: int, stride: int = 1) -> nn.Conv2d:
    """A 3×3 convolution of each channel by itself."""
    return nn.Conv2d(width, width, kernel_size=3, stride=stride, padding=1, groups=width)


def along_channels(x_BCHW: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, H, W, C), a view."""
    return x_BCHW.permute(0, 2, 3, 1)


def along_places(x_BHWC: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, C, H, W), a view: the inverse of ``along_channels``."""
    return x_BHWC.permute(0, 3, 1, 2)


class ChannelMixer(nn.Module):
    """Two pointwise layers with GELU between them, added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = Linear(width, _EXPANSION * width)
        self.conv2 = Linear(_EXPANSION * width, width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        x_BHWC = along_channels(x_BCHW)
        rows = in_chunks(self._mix, x_BHWC.flatten(0, 2), self.conv1.out_features)
        return along_places(rows.view(x_BHWC.shape))

    def _mix(self, x_RC: Tensor) -> Tensor:
        out: Tensor = x_RC + self.conv2(self.conv1.activated(self.conv1.rounded(x_RC), "gelu"))
        return out


class SqueezeExcite(nn.Module):
    """Scales channels by a function of their means (arXiv 1709.01507)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        hidden = max(8, (width // 4 + 4) // 8 * 8)
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        return x_BCHW * self.scale(x_BCHW)[:, :, None, None]

    def scale(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> the factor of each channel, (B, C)."""
        mean_BC = along_channels(x_BCHW).flatten(1, 2).mean(dim=1)
        hidden_BC = self.fc1.activated(self.fc1.rounded(mean_BC), "relu")
        scale_BC: Tensor = self.fc2(hidden_BC).sigmoid()
        return scale_BC


class RepVitBlock(nn.Module):
    """Places are mixed channel by channel, then channels place by place."""

    def __init__(self, width: int, squeeze: bool) -> None:
        super().__init__()
        # With its own input added: that is part of the folded weights.
        self.token_mixer = depthwise(width)
        self.se = SqueezeExcite(width) if squeeze else nn.Identity()
        self.channel_mixer = ChannelMixer(width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        out: Tensor = self.channel_mixer(self.se(self.token_mixer(x_BCHW)))
        return out


class Downsample(nn.Module):
    """A block, then half the grid, then the next stage's width."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.pre_block = RepVitBlock(width_in, squeeze=False)
        self.spatial_downsample = depthwise(width_in, stride=2)
        self.channel_downsample = Linear(width_in, width_out)
        self.ffn = ChannelMixer(width_out)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, width_in, H, W) -> (B, width_out, H / 2, W / 2)."""
        x_BCHW = self.spatial_downsample(self.pre_block(x_BCHW))
        wide = along_places(self.channel_downsample(along_channels(x_BCHW)))
        out: Tensor = self.ffn(wide)
        return out


class Stage(nn.Module):
    """Blocks of one width; every other one scales its channels, the first one included."""

    def __init__(self, downsample: nn.Module, width: int, depth: int) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.Sequential(
            *(RepVitBlock(width, squeeze=place % 2 == 0) for place in range(depth))
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, width_in, H, W) -> (B, width, H / 2, W / 2); the first stage keeps its grid."""
        out: Tensor = self.blocks(self.downsample(x_BCHW))
        return out


class Stem(nn.Module):
    """Two convolutions from the image to a quarter of its size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width // 2, kernel_size=3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(width // 2, width, kernel_size=3, stride=2, padding=1)

    def forward(self, image_B3HW: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, H / 4, W / 4)."""
        out: Tensor = self.conv2(F.gelu(self.conv1(image_B3HW)))
        return out


class Body(nn.Module):
    """Stem and four stages, under the names of EdgeTAM's file."""

    def __init__(self, config: RepVitConfig) -> None:
        super().__init__()
        first, *_ = config.stage_widths
        self.stem = Stem(first)
        before = first
        for place, (width, depth) in enumerate(
            zip(config.stage_widths, config.stage_depths, strict=True)
        ):
            downsample = nn.Identity() if place == 0 else Downsample(before, width)
            self.add_module(f"stages_{place}", Stage(downsample, width, depth))
            before = width

    def forward(self, image_B3HW: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> the map after each stage, finest first."""
        stem, *stages = self.children()
        x = stem(image_B3HW.contiguous(memory_format=torch.channels_last))
        maps = []
        for stage in stages:
            x = stage(x)
            maps.append(x)
        return maps


class RepVit(Trunk):
    """Image to four feature maps at strides 4, 8, 16 and 32."""

    def __init__(self, config: RepVitConfig) -> None:
        super().__init__()
        self.body = Body(config)

    def forward(self, image_B3HW: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> four (B, C, H / stride, W / stride) maps, finest first."""
        if self.fused is not None:
            return self.fused(self, image_B3HW)
        maps: list[Tensor] = self.body(image_B3HW)
        return maps
