"""Image trunks as a CUDA device computes them: the same blocks in fewer passes over their maps.

Of Hiera and ViT, sums, norms and windows are one pass; of RepViT, each channel mixer is. Their
files in ``tracker.model`` are the definition, and this agrees with it up to rounding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tracker.engine.attention_choice import refusals
from tracker.engine.triton_launch import compiled_together
from tracker.engine.triton_mixer import mix_channels
from tracker.engine.triton_windows import add_norm_windows
from tracker.model import Sam2
from tracker.model.hiera import BlockTrunk, Hiera, HieraBlock, halve
from tracker.model.repvit import (
    ChannelMixer,
    Downsample,
    RepVit,
    RepVitBlock,
    SqueezeExcite,
    Stage,
    along_channels,
    along_places,
)
from tracker.model.vit import Vit

_log = logging.getLogger(__name__)

# Relative root mean square of two computations in bfloat16; a wrong one is off by about 1.
_TOLERANCE = 0.05


def hiera_maps(trunk: BlockTrunk, image_B3HW: Tensor) -> list[Tensor]:
    """(B, 3, H, W) -> (B, C, H / stride, W / stride) maps, finest first, channels last."""
    x = trunk.patch_embed(image_B3HW)
    batch, height, width, _ = x.shape
    update: Tensor | None = trunk.position(height, width)
    maps = []
    for index, block in enumerate(trunk.blocks):
        assert isinstance(block, HieraBlock)
        x, normed = add_norm_windows(
            x, update, block.norm1, (batch, height, width), window=block.window
        )
        update, x_window, window = block.attn(normed), 0, block.window
        if block.pooled:
            height, width, window = height // 2, width // 2, window // 2
        if block.proj is not None:
            x, x_window = block.proj(normed), window
        if block.pooled:
            x = halve(x)
        x, normed = add_norm_windows(
            x, update, block.norm2, (batch, height, width), x_window, window
        )
        update = block.mlp(normed)
        if index in trunk.stage_ends:
            x, update = x + update, None
            maps.append(x.permute(0, 3, 1, 2))
    return maps


def repvit_maps(trunk: RepVit, image_B3HW: Tensor) -> list[Tensor]:
    """The same of RepViT."""
    stem, *stages = trunk.body.children()
    x = stem(image_B3HW.contiguous(memory_format=torch.channels_last))
    maps = []
    for stage in stages:
        assert isinstance(stage, Stage)
        x = _downsampled(stage.downsample, x)
        for block in stage.blocks:
            x = _block(block, x)
        maps.append(x)
    return maps


def _downsampled(part: nn.Module, x_BCHW: Tensor) -> Tensor:
    if not isinstance(part, Downsample):
        return x_BCHW
    x_BCHW = part.spatial_downsample(_block(part.pre_block, x_BCHW))
    wide = part.channel_downsample(along_channels(x_BCHW))
    return along_places(_mixed(part.ffn, wide, None))


def _block(block: nn.Module, x_BCHW: Tensor) -> Tensor:
    assert isinstance(block, RepVitBlock)
    x_BCHW = block.token_mixer(x_BCHW)
    scale = block.se.scale(x_BCHW) if isinstance(block.se, SqueezeExcite) else None
    return along_places(_mixed(block.channel_mixer, along_channels(x_BCHW), scale))


def _mixed(mixer: ChannelMixer, x_BHWC: Tensor, scale_BC: Tensor | None) -> Tensor:
    layers = mixer.conv1, mixer.conv2
    parameters = [each for layer in layers for each in (layer.weight, layer.bias)]
    return mix_channels(x_BHWC, scale_BC, *parameters)


# By kind of trunk. Others have no passes of their own.
FUSED: dict[type[nn.Module], Callable[[Any, Tensor], list[Tensor]]] = {
    Hiera: hiera_maps,
    Vit: hiera_maps,
    RepVit: repvit_maps,
}


def use_where_it_works(models: list[Sam2]) -> None:
    """Let the trunks of one network's sizes compute so, if this device's result is right."""
    trunk, dtype = models[0].image_encoder.trunk, models[0].image_encoder.dtype
    fused = FUSED.get(type(trunk))
    if fused is None or dtype is None or trunk.fused is not None:
        return
    image = torch.zeros(1, 3, 64, 96, dtype=dtype, device=next(trunk.parameters()).device)
    image[..., ::5, ::3] = 1
    with torch.autocast(image.device.type, enabled=False):
        try:
            with compiled_together():
                fused(trunk, image)
            pairs = list(zip(fused(trunk, image), trunk(image), strict=True))
        except refusals() as error:
            _log.warning("the image encoder runs without Triton: %s", error)
            return
    difference = max(float((ours - own).float().norm() / own.float().norm()) for ours, own in pairs)
    if difference > _TOLERANCE:
        _log.warning("the image encoder runs without Triton: it is off by %.3f", difference)
        return
    for model in models:
        model.image_encoder.trunk.fused = fused
