"""Trunk plus neck: an image becomes maps of equal width at strides 4, 8 and 16, or 16 only.

Dimensions: B batch, C channels, H W grid.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tracker.config import (
    EfficientNetLiteConfig,
    HieraConfig,
    ModelConfig,
    RepVitConfig,
    TrunkConfig,
    VitConfig,
)
from tracker.model.efficientnet_lite import EfficientNetLite
from tracker.model.hiera import Hiera
from tracker.model.layers import LayerNorm2d
from tracker.model.onednn_linear import Pointwise, pointwise
from tracker.model.repvit import RepVit
from tracker.model.trunk import Trunk
from tracker.model.vit import Vit


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


class OneMapLevel(nn.Sequential):
    """Two convolutions with norms that bring the only map of a trunk to the common width."""

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__()
        self.conv_1x1 = Pointwise(width_in, width_out, bias=False)
        self.norm_0 = LayerNorm2d(width_out)
        self.conv_3x3 = nn.Conv2d(width_out, width_out, kernel_size=3, padding=1, bias=False)
        self.norm_1 = LayerNorm2d(width_out)


class OneMapNeck(nn.Module):
    """The neck of a trunk with a map at stride 16 only; those of strides 8 and 4 are empty."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        (width,) = config.trunk.stage_widths
        self.convs = nn.ModuleList([OneMapLevel(width, config.hidden_dim)])

    def forward(self, maps: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """The trunk's map -> (B, C, H, W), and maps without channels."""
        (map16,), (level,) = maps, self.convs
        # A row for each image, as every table has; there is nothing to copy in it.
        empty = map16.new_empty(len(map16), 0, 1, 1)
        return level(map16), empty, empty


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
        case VitConfig():
            return Vit(config)
        case EfficientNetLiteConfig():
            return EfficientNetLite(config)
        case RepVitConfig():
            return RepVit(config)


class ImageEncoder(nn.Module):
    """Image to pyramid."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.trunk = make_trunk(config.trunk)
        self.neck = FeaturePyramid(config) if config.has_fine_maps else OneMapNeck(config)
        # The only dtype of everything between image and pyramid; None: as autocast chooses.
        self.dtype: torch.dtype | None = None
        self._result_dtype: torch.dtype | None = None

    def store_throughout(self, dtype: torch.dtype, result: torch.dtype | None = None) -> None:
        """Store the frozen layers in ``dtype``: compute norms and residual sums in it too.

        Autocast would keep those in float32: most of the bytes that the encoder moves. Learned
        tables stay as they are. Maps of convolutions are channels last. ``result``: the dtype of
        the pyramid, if another.
        """
        for module in self.modules():
            if next(module.children(), None) is None:
                module.to(dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.dtype, self._result_dtype = dtype, result or dtype

    def forward(self, image_B3HW: Tensor, *after: nn.Conv2d) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, S, S) -> (B, C, S / stride, S / stride) at strides 16, 8, 4, see the necks.

        ``after``: the decoder's ``fine_projections``.
        """
        if self.dtype is None:
            return self._encode(image_B3HW, *after)
        image_B3HW = image_B3HW.to(self.dtype, memory_format=torch.channels_last)
        with torch.autocast(image_B3HW.device.type, enabled=False):
            map16, map8, map4 = self._encode(image_B3HW, *after)
        wanted = self._result_dtype
        return map16.to(wanted), map8.to(wanted), map4.to(wanted)

    def _encode(self, image_B3HW: Tensor, *after: nn.Conv2d) -> tuple[Tensor, Tensor, Tensor]:
        pyramid: tuple[Tensor, Tensor, Tensor] = self.neck(self.trunk(image_B3HW), *after)
        return pyramid
