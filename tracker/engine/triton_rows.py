"""The work of memory attention around its products, as Triton kernels: each reads its input once.

A device that computes in bfloat16 would otherwise write float32 copies of every norm, and of keys
and queries for RoPE; most bytes of memory attention were those. All compute in float32 inside.
Needs triton, see ``triton_attention``.

Dimensions: N rows, L tokens, F remembered frames, M = F * L spatial keys, P plain keys, S = M + P,
C channels (a power of two), c channels of memories.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tracker.engine.triton_launch import launch

_TOKENS = 16
_KEYS = 32


def rotated(x_NLkC: Tensor, rotation_LC: Tensor) -> Tensor:
    """Axial RoPE of k tensors that lie side by side -> apart, (k, N, L, C) in the same dtype.

    ``rotation_LC``: cosine and sine of each channel pair, float32, one beside the other.
    """
    count, length, parts, channels = x_NLkC.shape
    x = x_NLkC.contiguous()
    out = x.new_empty(parts, count, length, channels)
    launch(
        _rotate,
        (triton.cdiv(length, _TOKENS), count),
        x,
        rotation_LC,
        out,
        length,
        count,
        PARTS=parts,
        CHANNELS=channels,
        TOKENS=_TOKENS,
    )
    return out


def add_norm(
    x_NLC: Tensor,
    update_NLC: Tensor,
    weight_C: Tensor,
    bias_C: Tensor,
    epsilon: float,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor]:
    """The sum in float32, and its layer norm in ``dtype``.

    A single ``update`` (1, L, C) is added to every row.
    """
    count, length, channels = x_NLC.shape
    x, update = x_NLC.contiguous(), update_NLC.contiguous()
    total = torch.empty(x.shape, dtype=torch.float32, device=x.device)
    normed = torch.empty(x.shape, dtype=dtype, device=x.device)
    launch(
        _add_norm,
        (triton.cdiv(count * length, _TOKENS),),
        x,
        update,
        weight_C,
        bias_C,
        total,
        normed,
        count * length,
        update.shape[0] * length,
        epsilon,
        CHANNELS=channels,
        TOKENS=_TOKENS,
    )
    return total, normed


def memory_keys(
    spatial_NMc: Tensor,
    age_code_NFc: Tensor,
    place_code_Lc: Tensor,
    plain_NPc: Tensor,
    weight_Cc: Tensor,
    bias_C: Tensor,
    rotation_LC: Tensor,
) -> Tensor:
    """Keys (N, S, C) in the weight's dtype: memories and their codes, projected and rotated.

    Plain keys come last, with their codes added already, and are not rotated.
    """
    count, spatial, narrow = spatial_NMc.shape
    plain = plain_NPc.shape[1]
    channels, length = weight_Cc.shape[0], place_code_Lc.shape[0]
    out = weight_Cc.new_empty(count, spatial + plain, channels)
    launch(
        _memory_keys,
        (triton.cdiv(spatial + plain, _KEYS), count),
        spatial_NMc.contiguous(),
        age_code_NFc.contiguous(),
        place_code_Lc.contiguous(),
        plain_NPc.contiguous(),
        weight_Cc,
        bias_C,
        rotation_LC,
        out,
        spatial,
        plain,
        length,
        CHANNELS=channels,
        NARROW=narrow,
        KEYS=_KEYS,
        num_warps=8,
    )
    return out


@triton.jit  # type: ignore[untyped-decorator]
def _turned(x, angle, TOKENS: tl.constexpr, CHANNELS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Neighbouring channel pairs rotated, (TOKENS, CHANNELS)."""
    PAIRS: tl.constexpr = CHANNELS // 2
    first, second = tl.split(tl.reshape(x, (TOKENS, PAIRS, 2)))
    cosine, sine = tl.split(tl.reshape(angle, (TOKENS, PAIRS, 2)))
    turned = tl.join(first * cosine - second * sine, first * sine + second * cosine)
    return tl.reshape(turned, (TOKENS, CHANNELS))


@triton.jit(do_not_specialize=["rows"])  # type: ignore[untyped-decorator]
def _rotate(  # type: ignore[no-untyped-def]
    x,
    rotation,
    out,
    length,
    rows,
    PARTS: tl.constexpr,
    CHANNELS: tl.constexpr,
    TOKENS: tl.constexpr,
):
    """One block of tokens of one row, of all parts."""
    row = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    channel = tl.arange(0, CHANNELS)[None, :]
    known = place[:, None] < length
    angle = tl.load(rotation + place[:, None] * CHANNELS + channel, mask=known, other=0)
    for part in tl.static_range(PARTS):
        own = ((row * length + place)[:, None] * PARTS + part) * CHANNELS + channel
        value = tl.load(x + own, mask=known, other=0).to(tl.float32)
        turned = _turned(value, angle, TOKENS, CHANNELS)
        at = ((part * rows + row) * length + place)[:, None] * CHANNELS + channel
        tl.store(out + at, turned.to(out.dtype.element_ty), mask=known)


@triton.jit  # type: ignore[untyped-decorator]
def _add_norm(  # type: ignore[no-untyped-def]
    x,
    update,
    weight,
    bias,
    total_out,
    normed_out,
    tokens,
    updates,
    epsilon,
    CHANNELS: tl.constexpr,
    TOKENS: tl.constexpr,
):
    """One block of tokens of all rows."""
    place = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    channel = tl.arange(0, CHANNELS)[None, :]
    known = place[:, None] < tokens
    own = place[:, None] * CHANNELS + channel
    added = (place % updates)[:, None] * CHANNELS + channel
    total = tl.load(x + own, mask=known, other=0).to(tl.float32)
    total += tl.load(update + added, mask=known, other=0).to(tl.float32)
    tl.store(total_out + own, total, mask=known)
    deviation = total - (tl.sum(total, 1) / CHANNELS)[:, None]
    variance = tl.sum(deviation * deviation, 1) / CHANNELS
    normed = deviation * tl.rsqrt(variance + epsilon)[:, None]
    normed = normed * tl.load(weight + channel).to(tl.float32)
    normed += tl.load(bias + channel).to(tl.float32)
    tl.store(normed_out + own, normed.to(normed_out.dtype.element_ty), mask=known)


@triton.jit(do_not_specialize=["spatial", "plain"])  # type: ignore[untyped-decorator]
def _memory_keys(  # type: ignore[no-untyped-def]
    spatial_in,
    age_code,
    place_code,
    plain_in,
    weight,
    bias,
    rotation,
    out,
    spatial,
    plain,
    length,
    CHANNELS: tl.constexpr,
    NARROW: tl.constexpr,
    KEYS: tl.constexpr,
):
    """One block of keys of one row; it may hold the last spatial and the first plain ones."""
    row = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * KEYS + tl.arange(0, KEYS)
    narrow = tl.arange(0, NARROW)
    channel = tl.arange(0, CHANNELS)
    on_grid = place[:, None] < spatial
    known = place[:, None] < spatial + plain
    cell = (place % length)[:, None]
    frame = (row * (spatial // length) + place // length)[:, None]
    token = tl.load(
        spatial_in + (row * spatial + place)[:, None] * NARROW + narrow[None, :],
        mask=on_grid,
        other=0,
    ).to(tl.float32)
    code = tl.load(place_code + cell * NARROW + narrow[None, :], mask=on_grid, other=0)
    code += tl.load(age_code + frame * NARROW + narrow[None, :], mask=on_grid, other=0)
    token += code
    token += tl.load(
        plain_in + (row * plain + place - spatial)[:, None] * NARROW + narrow[None, :],
        mask=known & (place[:, None] >= spatial),
        other=0,
    )
    weight_cC = tl.load(weight + channel[None, :] * NARROW + narrow[:, None])
    key = tl.dot(token.to(weight_cC.dtype), weight_cC, input_precision="ieee")
    key += tl.load(bias + channel)[None, :].to(tl.float32)
    angle = tl.load(rotation + cell * CHANNELS + channel[None, :], mask=on_grid, other=0)
    key = tl.where(on_grid, _turned(key, angle, KEYS, CHANNELS), key)
    at = (row * (spatial + plain) + place)[:, None] * CHANNELS + channel[None, :]
    tl.store(out + at, key.to(out.dtype.element_ty), mask=known)
