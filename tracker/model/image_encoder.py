"""Trunk plus feature pyramid: an image becomes maps of equal width at strides 4, 8 and 16.

Dimensions: B batch, C channels, H W grid.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from tracker.config import (
    EfficientNetLiteConfig,
    HieraConfig,
    ModelConfig,
    RepVitConfig,
    TrunkConfig,
)
from tracker.model.efficientnet_lite import EfficientNetLite
from tracker.model.hiera import Hiera
from tracker.model.onednn_linear import Pointwise, pointwise
from tracker.model.repvit import RepVit
from tracker.model.trunk import Trunk


class PyramidLevel(nn.Module):
    """The 1×1 convolution that brings one trunk stage to the common width."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.conv = Pointwise(width_in, width_out)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, width_in, H, W) -> (B, width_out, H, W)."""
        out: Tensor = self.conv(x_BCHW)
        return out


class FeaturePyramid(nn.Module):
    """The neck (arXiv 1612.03144). Only stride 16 receives a coarser map, that of stride 32."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        # Coarsest first: the order of the parameters in Meta's files.
        self.convs = nn.ModuleList(
            PyramidLevel(width, config.hidden_dim) for width in reversed(config.trunk.stage_widths)
        )

    def forward(
        self, maps: list[Tensor], after8: nn.Conv2d, after4: nn.Conv2d
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Four trunk maps, finest first -> maps at strides 16, 8 and 4.

        The finer two are used only through the 1×1 convolutions ``after8`` and ``after4``.
        """
        map4, map8, map16, map32 = maps
        level32, level16, level8, level4 = self.convs
        assert isinstance(level8, PyramidLevel)
        assert isinstance(level4, PyramidLevel)
        above = F.interpolate(level32(map32), scale_factor=2.0, mode="nearest")
        return (
            level16(map16) + above,
            fused_pointwise(map8, level8.conv, after8),
            fused_pointwise(map4, level4.conv, after4),
        )


def fused_pointwise(x_BCHW: Tensor, first: nn.Conv2d, second: nn.Conv2d) -> Tensor:
    """Two 1×1 convolutions folded into one, which avoids the wide map between them."""
    narrow = second.weight.flatten(1)
    assert first.bias is not None
    weight = narrow @ first.weight.flatten(1)
    bias = F.linear(first.bias, narrow, second.bias)
    return pointwise(x_BCHW, weight[:, :, None, None], bias)


def make_trunk(config: TrunkConfig) -> Trunk:
    """The trunk of this shape, with weights that mean nothing yet."""
    match config:
        case HieraConfig():
            return Hiera(config)
        case EfficientNetLiteConfig():
            return EfficientNetLite(config)
        case RepVitConfig():
            return RepVit(config)


class ImageEncoder(nn.Module):
    """Image to pyramid."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.trunk = make_trunk(config.trunk)
        self.neck = FeaturePyramid(config)

    def forward(
        self, image_B3HW: Tensor, after8: nn.Conv2d, after4: nn.Conv2d
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, S, S) -> (B, C, S / stride, S / stride) at strides 16, 8, 4, see the pyramid."""
        pyramid: tuple[Tensor, Tensor, Tensor] = self.neck(self.trunk(image_B3HW), after8, after4)
        return pyramid
