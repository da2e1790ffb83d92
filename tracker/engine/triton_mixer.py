"""RepViT's channel mixer in one pass over a map, as a Triton kernel.

Two pointwise layers with GELU between them, added to their input: apart, they write and read a
hidden map of twice the width. Needs triton, see ``triton_attention``.

Dimensions: B images, H W grid, C channels, U hidden units.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from tracker.engine.triton_launch import launch

# Numbers of a program's sum: 64 of each thread.
_NUMBERS = 8192
UNITS = 32
# More would need more shared memory for the widest maps than every device has.
STAGES = 2


def mix_channels(
    x_BHWC: Tensor,
    scale_BC: Tensor | None,
    weight_UC: Tensor,
    bias_U: Tensor,
    weight_CU: Tensor,
    bias_C: Tensor,
) -> Tensor:
    """``y + weight_CU gelu(weight_UC y + bias_U) + bias_C`` of y = x · scale -> (B, H, W, C).

    No scale: y = x. Sums are float32, operands of products as they come.
    """
    channels, units = weight_CU.shape
    x = x_BHWC.contiguous()
    out = torch.empty_like(x)
    tokens = x.numel() // channels
    wide, block = block_of(channels)
    launch(
        _mix_channels,
        (triton.cdiv(tokens, block),),
        x,
        x if scale_BC is None else scale_BC.contiguous(),
        weight_UC,
        bias_U,
        weight_CU,
        bias_C,
        out,
        tokens,
        tokens // len(x),
        SCALED=scale_BC is not None,
        CHANNELS=channels,
        WIDE=wide,
        HIDDEN=units,
        UNITS=UNITS,
        TOKENS=block,
        num_stages=STAGES,
    )
    return out


def block_of(channels: int) -> tuple[int, int]:
    """The channels of a program, with padding, and its tokens."""
    wide = max(16, triton.next_power_of_2(channels))
    return wide, min(64, max(16, _NUMBERS // wide))


# One kernel for all sizes of images and batches.
@triton.jit(do_not_specialize=["tokens", "places"])  # type: ignore[untyped-decorator]
def _mix_channels(  # type: ignore[no-untyped-def]
    x,
    scale,
    weight1,
    bias1,
    weight2,
    bias2,
    out,
    tokens,
    places,
    SCALED: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDE: tl.constexpr,
    HIDDEN: tl.constexpr,
    UNITS: tl.constexpr,
    TOKENS: tl.constexpr,
):
    """One block of tokens of all images."""
    place = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    channel = tl.arange(0, WIDE)
    within = channel < CHANNELS
    known = (place[:, None] < tokens) & within[None, :]
    own = place[:, None] * CHANNELS + channel[None, :]
    value = tl.load(x + own, mask=known, other=0)
    if SCALED:
        image = (place // places)[:, None]
        factor = tl.load(scale + image * CHANNELS + channel[None, :], mask=known, other=0)
        value = (value.to(tl.float32) * factor.to(tl.float32)).to(value.dtype)
    total = value.to(tl.float32)
    total += tl.load(bias2 + channel, mask=within, other=0).to(tl.float32)[None, :]
    for begin in range(0, HIDDEN, UNITS):
        unit = begin + tl.arange(0, UNITS)
        there = unit < HIDDEN
        weight1_CU = tl.load(
            weight1 + unit[None, :] * CHANNELS + channel[:, None],
            mask=within[:, None] & there[None, :],
            other=0,
        )
        hidden = tl.dot(value, weight1_CU, input_precision="ieee")
        hidden += tl.load(bias1 + unit, mask=there, other=0).to(tl.float32)[None, :]
        hidden = 0.5 * hidden * (1 + tl.erf(hidden * 0.7071067811865476))
        weight2_UC = tl.load(
            weight2 + channel[None, :] * HIDDEN + unit[:, None],
            mask=there[:, None] & within[None, :],
            other=0,
        )
        total = tl.dot(hidden.to(value.dtype), weight2_UC, total, input_precision="ieee")
    tl.store(out + own, total.to(out.dtype.element_ty), mask=known)
