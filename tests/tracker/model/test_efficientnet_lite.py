"""EfficientNet-Lite with its norms folded computes what the network with batch norms does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.tracker import little
from tests.tracker.agreement.scripts import model_with, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tests.tracker.pretended.device import pretended_cuda
from tracker import (
    PRESETS,
    ConvolutionStage,
    EfficientNetLiteConfig,
    Track,
    Tracker,
    TrackerOptions,
)
from tracker.model.efficientnet_lite import EfficientNetLite
from tracker.options import EngineOptions
from tracker.training.imagenet import load_folded
from tracker.training.unroll import normalise

LITTLE = EfficientNetLiteConfig(
    (
        ConvolutionStage(1, 3, 1, 1, 8),
        ConvolutionStage(2, 3, 2, 2, 12),
        ConvolutionStage(1, 5, 2, 3, 16),
        ConvolutionStage(1, 3, 2, 2, 20),
        ConvolutionStage(2, 5, 1, 2, 24),
        ConvolutionStage(1, 5, 2, 2, 28),
    )
)


def same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """Padding as TensorFlow documents SAME, by its own formula."""
    for axis in (3, 2):
        side = x.shape[axis]
        total = max(kernel - (stride if side % stride == 0 else side % stride), 0)
        before = total // 2
        edges = (before, total - before)
        x = F.pad(x, edges if axis == 3 else (0, 0, *edges))
    return x


class WithNorms(nn.Module):
    """The published network: convolution, batch norm, ReLU6; names as in the package's file."""

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=1e-3)
        self._blocks = nn.ModuleList()
        self.strides: list[int] = []
        width, reached = 32, 2
        for stage in config.stages:
            for place in range(stage.repeats):
                block = nn.Module()
                wide = width * stage.expansion
                stride = stage.stride if place == 0 else 1
                if stage.expansion > 1:
                    block._expand_conv = nn.Conv2d(width, wide, 1, bias=False)
                    block._bn0 = nn.BatchNorm2d(wide, eps=1e-3)
                block._depthwise_conv = nn.Conv2d(
                    wide, wide, stage.kernel, stride, groups=wide, bias=False
                )
                block._bn1 = nn.BatchNorm2d(wide, eps=1e-3)
                block._project_conv = nn.Conv2d(wide, stage.width, 1, bias=False)
                block._bn2 = nn.BatchNorm2d(stage.width, eps=1e-3)
                self._blocks.append(block)
                width = stage.width
                reached *= stride
                self.strides.append(reached)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Pictures from 0 to 1 -> the last map of each stride from 4 on."""
        x = F.relu6(self._bn0(self._conv_stem(same(2 * pictures - 1, 3, 2))))
        maps: dict[int, Tensor] = {}
        for block, stride in zip(self._blocks, self.strides, strict=True):
            wide = x
            if hasattr(block, "_expand_conv"):
                wide = F.relu6(block._bn0(block._expand_conv(x)))
            depth = block._depthwise_conv
            wide = F.relu6(block._bn1(depth(same(wide, depth.kernel_size[0], depth.stride[0]))))
            made = block._bn2(block._project_conv(wide))
            x = x + made if made.shape == x.shape else made
            maps[stride] = x
        return [maps[stride] for stride in (4, 8, 16, 32)]


def random_norms(network: nn.Module) -> None:
    """Statistics and gains as after training, so that folding has something to fold."""
    draw = torch.Generator().manual_seed(7)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.2 * torch.randn(module.num_features, generator=draw))
            module.running_var.copy_(0.05 + torch.rand(module.num_features, generator=draw))
            module.weight.copy_(0.5 + torch.rand(module.num_features, generator=draw))
            module.bias.copy_(torch.randn(module.num_features, generator=draw))


@pytest.mark.parametrize("size", [(64, 64), (96, 160), (70, 93)])
@torch.no_grad()
def test_folded_trunk_agrees_with_the_network_with_batch_norms(size: tuple[int, int]) -> None:
    theirs = WithNorms(LITTLE).eval()
    random_norms(theirs)
    ours = EfficientNetLite(LITTLE)
    load_folded(ours, theirs.state_dict())
    pictures = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1))
    maps = ours(normalise(pictures))
    for width, made, expected in zip(LITTLE.stage_widths, maps, theirs(pictures), strict=True):
        assert made.shape[1] == width
        torch.testing.assert_close(made, expected, rtol=5e-5, atol=5e-5)


@torch.no_grad()
def test_maps_are_at_strides_4_to_32_and_channels_last() -> None:
    config = PRESETS["nano"].trunk
    assert isinstance(config, EfficientNetLiteConfig)
    maps = EfficientNetLite(config)(torch.zeros(1, 3, 320, 320))
    assert [tuple(each.shape) for each in maps] == [
        (1, 24, 80, 80),
        (1, 40, 40, 40),
        (1, 112, 20, 20),
        (1, 192, 10, 10),
    ]
    assert all(each.is_contiguous(memory_format=torch.channels_last) for each in maps)


def test_pictures_arrive_from_minus_one_to_one() -> None:
    trunk = EfficientNetLite(LITTLE)
    pictures = torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(trunk.own_scale(normalise(pictures)), 2 * pictures - 1)


@pytest.mark.parametrize("strides", [(2, 2, 2, 2, 1, 1), (1, 2, 2, 2, 1, 1), (1, 2, 2, 3, 2, 2)])
def test_stages_that_miss_a_stride_are_refused(strides: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="must have stride 2"):
        EfficientNetLiteConfig(tuple(ConvolutionStage(1, 3, each, 1, 8) for each in strides))


def tracks_of(options: TrackerOptions, device: str = "cpu") -> list[Track]:
    """Two objects on three frames, by a little model that sees through the trunk."""
    config = little.LITTLE.replaced(trunk=LITTLE)
    weights = amplified_weights(shapes_of(config), seed=1)
    tracker = Tracker(model_with(config, weights), torch.device(device), options)
    session = tracker.open_session()
    prompts = [little.click(1), little.click(2, 45, 12)]
    found: list[Track] = []
    for index in range(3):
        (tracks,) = tracker.step(
            [(session, little.little_picture(index), prompts if index == 0 else [])]
        )
        found += tracks
    return found


def test_a_device_finds_what_a_processor_finds_and_other_types_and_sizes_fit() -> None:
    plain = TrackerOptions(2, return_logits=True, compute_dtype="float32")
    sdpa = EngineOptions(attention="sdpa")
    expected = tracks_of(plain)
    with pretended_cuda(1):
        little.assert_all_same(tracks_of(replace(plain, engine=sdpa), "cuda:1"), expected)
    for options in (
        replace(plain, compute_dtype="bfloat16"),
        replace(plain, engine=EngineOptions(image_size=96)),
        replace(plain, engine=EngineOptions(image_size=32, fixed_shapes="on")),
    ):
        found = tracks_of(options)
        assert len(found) == len(expected) == 6
        assert all(np.isfinite(track.logits).all() for track in found)
