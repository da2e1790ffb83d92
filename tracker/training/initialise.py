"""Initial weights from which matching by memory is learned in minutes instead of days.

With random weights the cross-attention to the memory is flat: all memory tokens weigh the same, the
frame receives the mean of the written mask, and the gradient that would sharpen the attention is
lost in noise. So the weights are set to compare like with like:

``place_prompts``, at the start: the mask decoder's queries and keys read position codes by the same
projection, so that a prompt attends to its position.

``place_memory``, after the images phase: half of a memory's channels carry the whitened features of
its frame, the other half the mask. Queries and keys of the cross-attention both read the whitened
features, with a bias for near positions through RoPE, and values read the mask. Such a memory
propagates masks untrained: the attention's coarse mask correlates 0.7 to 0.9 with the true one of
the next frame, depending on the motion (nano after 700 steps on images). It is a starting point for
training, not a tracker.

Dimensions: C hidden width, c memory width, L grid tokens, N objects.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tracker.model.efficientnet_lite import EfficientNetLite
from tracker.model.layers import tokens_from_grid
from tracker.model.memory_attention import MemoryAttentionLayer, MemoryTokens
from tracker.model.memory_encoder import ConvNextBlock
from tracker.model.sam2 import Sam2
from tracker.model.two_way_transformer import Attention
from tracker.training.imagenet import imagenet_weights, load_folded

_LAYER_SCALE = 0.1
_POINT_GAIN = 1.6
_EMBEDDING_DEVIATION = 0.02
_COVER_CHANNELS = 8
_COVER_SCALE = 3.0
_MATCH_SHARPNESS = 0.25
"""Logit per unit of product of two whitened features: 8 for a match of 32 channels."""
_NEARNESS = 0.15
"""Decrease of the logit per squared token of distance, for small distances."""
_NEARNESS_PAIRS = range(3, 8)
_CONTENT_PAIRS_FROM = 12
_MASK_SIGNAL_SHARE = 0.8
"""Strength of the mask's trace in the frame's tokens, relative to their own variation."""


@torch.no_grad()
def place_prompts(model: Sam2) -> None:
    """Initialise a new model in place. Draws from PyTorch's global generator.

    EfficientNet-Lite begins as ImageNet left it. Raises CheckpointError if its weights are missing.
    """
    if isinstance(model.image_encoder.trunk, EfficientNetLite):
        load_folded(model.image_encoder.trunk, imagenet_weights())
    for table in (
        model.maskmem_tpos_enc,
        model.no_mem_embed,
        model.no_obj_ptr,
        *model.image_encoder.trunk.position_tables(),
    ):
        nn.init.trunc_normal_(table, std=_EMBEDDING_DEVIATION)
    for module in model.modules():
        if isinstance(module, ConvNextBlock):
            module.gamma.fill_(_LAYER_SCALE)
        elif isinstance(module, Attention):
            nn.init.orthogonal_(module.k_proj.weight, _POINT_GAIN)
            module.q_proj.weight.copy_(module.k_proj.weight)


@torch.no_grad()
def place_memory(
    model: Sam2, images_N3SS: Tensor, masks_NSS: Tensor, generator: torch.Generator
) -> None:
    """Initialise the memory of a model trained on images, in place, from a batch of frames.

    Depends on the arguments only, so all processes get the same weights.
    """
    stride16 = model.encode_image(images_N3SS).stride16_BCHW
    frame_NLC = tokens_from_grid(stride16)
    content_width = model.config.memory_dim // 2
    mean_C, whiten_kC = _whitening(frame_NLC.flatten(0, 1), content_width)
    channels = _content_channels(model.config.memory_dim, content_width)
    side = stride16.shape[-1]
    share_NL = F.adaptive_avg_pool2d(masks_NSS.float().unsqueeze(1), side).flatten(1)
    scaled = masks_NSS.float().unsqueeze(1) * 20 - 10
    _write_content(model, mean_C, whiten_kC, channels)
    cover = _write_cover(model, scaled, share_NL, channels)

    everything = torch.ones(len(masks_NSS), dtype=torch.bool, device=masks_NSS.device)
    spatial = model.encode_memory(stride16, scaled, everything)
    memory = MemoryTokens(
        spatial,
        model.memory_position().expand_as(spatial),
        spatial[:, :0],
        spatial[:, :0],
    )
    key = memory.spatial_NMc + memory.spatial_code_NMc
    target = (frame_NLC - mean_C) @ whiten_kC.T
    x = frame_NLC + 0.1 * model.image_position().flatten(1).T
    for layer in model.memory_attention.layers:
        assert isinstance(layer, MemoryAttentionLayer)
        x = layer.attend_to_frame(x, model.rotation())
        _compare_content(layer, x, target, channels, generator)
        _carry_mask(layer, x, memory, share_NL, cover)
        query = layer.memory_query(x, model.rotation())
        x = layer.attend_to_memory(x, query, key, spatial, model.rotation(), 0, None)
    _restore_scale(model.memory_attention.norm, x, frame_NLC)


def _whitening(features_nC: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Mean, and the strongest principal directions scaled to unit variance, (width, C)."""
    mean = features_nC.mean(dim=0)
    centred = features_nC - mean
    covariance = centred.T @ centred / len(centred)
    strength, direction = torch.linalg.eigh(covariance)
    strongest = direction[:, -width:].T
    return mean, strongest / strength[-width:].clamp(min=1e-6).sqrt().unsqueeze(1)


def _content_channels(memory_width: int, content_width: int) -> Tensor:
    """Memory channels whose sine code hardly varies over the grid: each axis' low frequencies."""
    axis, kept = memory_width // 2, content_width // 2
    slow = torch.arange(axis - kept, axis)
    return torch.cat((slow, slow + axis))


def _write_content(model: Sam2, mean_C: Tensor, whiten_kC: Tensor, channels: Tensor) -> None:
    """Memory encoder: whitened features to some memory channels, independent of the mask."""
    encoder, width = model.memory_encoder, len(whiten_kC)
    project, narrow = encoder.pix_feat_proj, encoder.out_proj
    last = _last_mask_layer(model)
    assert project.bias is not None
    assert narrow.bias is not None
    assert last.bias is not None
    project.weight.zero_()
    project.bias.zero_()
    project.weight[:width, :, 0, 0] = whiten_kC
    project.bias[:width] = -whiten_kC @ mean_C
    last.weight[:width] = 0
    last.bias[:width] = 0
    narrow.bias.zero_()
    narrow.weight[:, :width] = 0
    narrow.weight[channels] = 0
    narrow.weight[channels, torch.arange(width), 0, 0] = 1.0


def _write_cover(model: Sam2, scaled_N1SS: Tensor, share_NL: Tensor, channels: Tensor) -> Tensor:
    """Write the covered share of each token to a few memory channels; returns these channels.

    By least squares from the mask downsampler's features, with both signs.
    """
    encoder, width = model.memory_encoder, len(channels)
    layers, last = encoder.mask_downsampler.encoder[:-1], _last_mask_layer(model)
    hidden = tokens_from_grid(layers(scaled_N1SS)).flatten(0, 1)
    hidden_one = torch.cat((hidden, hidden.new_ones(len(hidden), 1)), dim=1)
    # Tokens inside objects are few, so they weigh as much as the background.
    share = share_NL.flatten()
    weight = torch.where(share > 0.05, (share <= 0.05).sum() / (share > 0.05).sum(), 1.0)
    ridge = 1e-3 * weight.sum() * torch.eye(hidden_one.shape[1], device=hidden.device)
    solution = torch.linalg.solve(
        (hidden_one * weight[:, None]).T @ hidden_one + ridge,
        (hidden_one * weight[:, None]).T @ share,
    )
    assert last.bias is not None
    free = torch.ones(encoder.out_proj.weight.shape[0], dtype=torch.bool)
    free[channels] = False
    cover = free.nonzero().squeeze(1)[:_COVER_CHANNELS]
    for place, channel in enumerate(cover.tolist()):
        sign = _COVER_SCALE if place % 2 == 0 else -_COVER_SCALE
        last.weight[width + place, :, 0, 0] = sign * solution[:-1]
        last.bias[width + place] = sign * solution[-1]
        encoder.out_proj.weight[channel] = 0
        encoder.out_proj.weight[channel, width + place] = 1.0
    return cover


def _last_mask_layer(model: Sam2) -> nn.Conv2d:
    last = model.memory_encoder.mask_downsampler.encoder[-1]
    assert isinstance(last, nn.Conv2d)
    return last


def _compare_content(
    layer: MemoryAttentionLayer,
    x_NLC: Tensor,
    target_NLk: Tensor,
    channels: Tensor,
    generator: torch.Generator,
) -> None:
    """Queries and keys that both read the whitened features, with a bias for near positions."""
    attention = layer.cross_attn_image
    width, content = attention.q_proj.weight.shape[0], target_NLk.shape[2]
    # RoPE: pairs of neighbouring channels, columns in the first half, rows in the second.
    half = width // 2
    pair = torch.arange(half) % (half // 2)
    slow = (pair >= _CONTENT_PAIRS_FROM * half // 64).repeat_interleave(2).nonzero().squeeze(1)
    draw = torch.randn(len(slow), content, generator=generator, device=generator.device)
    spread = torch.zeros(width, content, device=x_NLC.device)
    spread[slow] = torch.linalg.qr(draw)[0]
    gain = math.sqrt(_MATCH_SHARPNESS * math.sqrt(width))

    near = torch.zeros(half)
    fast = torch.tensor(_NEARNESS_PAIRS) * half // 64
    frequency = 10000.0 ** -(fast.float() * 4 / width)
    strength = 2 * _NEARNESS * math.sqrt(width) / float(frequency.square().sum())
    near[fast] = near[fast + half // 2] = math.sqrt(strength)
    nearness = torch.stack((near, torch.zeros(half)), dim=1).flatten().to(x_NLC.device)

    assert attention.k_proj.bias is not None
    assert attention.q_proj.bias is not None
    attention.k_proj.weight.zero_()
    attention.k_proj.weight[:, channels] = spread * gain
    attention.k_proj.bias.copy_(nearness)
    # Least squares: recover the whitened features from the layer's input.
    seen = layer.norm2(x_NLC).flatten(0, 1)
    seen_one = torch.cat((seen, seen.new_ones(len(seen), 1)), dim=1)
    ridge = 1e-3 * len(seen) * torch.eye(seen_one.shape[1], device=seen.device)
    solution = torch.linalg.solve(
        seen_one.T @ seen_one + ridge, seen_one.T @ target_NLk.flatten(0, 1)
    )
    attention.q_proj.weight.copy_((spread * gain) @ solution[:-1].T)
    attention.q_proj.bias.copy_((spread * gain) @ solution[-1] + nearness)


def _carry_mask(
    layer: MemoryAttentionLayer,
    x_NLC: Tensor,
    memory: MemoryTokens,
    share_NL: Tensor,
    cover: Tensor,
) -> None:
    """Values that carry the covered share, strong enough relative to the frame's tokens."""
    attention = layer.cross_attn_image
    kept = attention.v_proj.weight[:, cover].clone()
    attention.v_proj.weight *= 0.1
    attention.v_proj.weight[:, cover] = kept
    written = F.linear(attention.v_proj(memory.spatial_NMc), attention.out_proj.weight)
    inside, outside = share_NL > 0.5, share_NL < 0.05
    signal = written[inside].mean(dim=0) - written[outside].mean(dim=0)
    deviation = (x_NLC - x_NLC.mean(dim=1, keepdim=True)).norm(dim=2).mean()
    factor = _MASK_SIGNAL_SHARE * deviation / signal.norm().clamp(min=1e-6)
    attention.out_proj.weight *= factor
    assert attention.out_proj.bias is not None
    assert attention.v_proj.bias is not None
    # Objects cover little, so background tokens must contribute nothing.
    attention.v_proj.bias.sub_(attention.v_proj(memory.spatial_NMc[outside]).mean(dim=0))
    attention.out_proj.bias.zero_()


def _restore_scale(norm: nn.LayerNorm, x_NLC: Tensor, frame_NLC: Tensor) -> None:
    """Give conditioned features the scale of raw ones, on which the decoder was trained."""
    plain = F.layer_norm(x_NLC, norm.normalized_shape, eps=norm.eps).flatten(0, 1)
    raw = frame_NLC.flatten(0, 1)
    centred = plain - plain.mean(dim=0)
    slope = (centred * (raw - raw.mean(dim=0))).mean(dim=0) / centred.square().mean(dim=0)
    norm.weight.copy_(slope)
    norm.bias.copy_(raw.mean(dim=0) - slope * plain.mean(dim=0))
