"""EfficientNet-Lite0 as an image trunk: plain convolutions with ReLU6, no attention.

The network is that of EfficientNet (arXiv 1905.11946) in its Lite variant, which has no
squeeze-and-excitation. Batch norms are folded into the convolutions, so that weights trained on
ImageNet come with the model and nothing is normalised when it runs. The last stage (320 channels)
is left out: nothing reads it.

Dimensions: B batch, C channels, H W grid.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tracker.config import IMAGE_MEAN, IMAGE_STD, EfficientNetLiteConfig
from tracker.model.onednn_convolution import convolve
from tracker.model.trunk import Trunk

_STEM_WIDTH = 32


class SameConvolution(nn.Conv2d):
    """A convolution padded as TensorFlow's SAME: an odd pixel lies right and below."""

    def __init__(
        self, width_in: int, width_out: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(width_in, width_out, kernel, stride, groups=groups)

    def forward(
        self, x_BCHW: Tensor, *, relu6: bool = False, add_BOHW: Tensor | None = None
    ) -> Tensor:
        """(B, C, H, W) -> (B, width_out, H / stride, W / stride), rounded up."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        padding = [
            max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x_BCHW.shape[2:]
        ]
        high, wide = padding
        if high % 2 or wide % 2:
            x_BCHW = F.pad(x_BCHW, (wide // 2, wide - wide // 2, high // 2, high - high // 2))
            high = wide = 0
        return convolve(self, x_BCHW, (high // 2, wide // 2), relu6=relu6, add_BOHW=add_BOHW)


class InvertedResidual(nn.Module):
    """Widen, convolve each channel by itself, narrow (arXiv 1801.04381)."""

    def __init__(
        self, width_in: int, width_out: int, kernel: int, stride: int, expansion: int
    ) -> None:
        super().__init__()
        wide = width_in * expansion
        self.skip = width_in == width_out and stride == 1
        self.expand = SameConvolution(width_in, wide, 1) if expansion > 1 else None
        self.depth = SameConvolution(wide, wide, kernel, stride, wide)
        self.project = SameConvolution(wide, width_out, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, width_in, H, W) -> (B, width_out, H / stride, W / stride)."""
        wide = x_BCHW if self.expand is None else self.expand(x_BCHW, relu6=True)
        out: Tensor = self.project(
            self.depth(wide, relu6=True), add_BOHW=x_BCHW if self.skip else None
        )
        return out


class EfficientNetLite(Trunk):
    """Image to four feature maps at strides 4, 8, 16 and 32, channels last."""

    # It has no norms, and errors of bfloat16 add up to other masks. ReLU6 bounds the values
    # between sums; the largest sum in nano is about 60, a thousandth of float16's range.
    narrow_dtype = torch.float16

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__()
        self.stem = SameConvolution(3, _STEM_WIDTH, 3, 2)
        self.blocks = nn.ModuleList()
        self.map_ends: list[int] = []
        width = _STEM_WIDTH
        for index, stage in enumerate(config.stages):
            for place in range(stage.repeats):
                stride = stage.stride if place == 0 else 1
                self.blocks.append(
                    InvertedResidual(width, stage.width, stage.kernel, stride, stage.expansion)
                )
                width = stage.width
            if index in config.map_ends:
                self.map_ends.append(len(self.blocks) - 1)
        self._scales: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def own_scale(self, image_B3HW: Tensor) -> Tensor:
        """Pictures from -1 to 1, as it was trained on, from those in ImageNet's scale."""
        device = image_B3HW.device
        if device not in self._scales:
            numbers = torch.tensor((IMAGE_MEAN, IMAGE_STD), device=device)
            mean, deviation = numbers.view(2, 3, 1, 1)
            self._scales[device] = 2 * mean - 1, 2 * deviation
        shift, scale = self._scales[device]
        return torch.addcmul(shift, image_B3HW, scale).to(image_B3HW.dtype)

    def forward(self, image_B3HW: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> four (B, C, H / stride, W / stride) maps, finest first."""
        x = self.own_scale(image_B3HW).contiguous(memory_format=torch.channels_last)
        x = self.stem(x, relu6=True)
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self.map_ends:
                maps.append(x)
        return maps
