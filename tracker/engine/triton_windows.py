"""Sums, norms and windows of the image trunk in one pass, as a Triton kernel.

Hiera adds, normalises and cuts into windows in turn; apart, each of these reads and writes the
whole map. Needs triton, see ``triton_attention``.

Dimensions: B images, H W grid, C channels, V windows.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

from tracker.engine.triton_launch import launch

# Numbers of a program: 32 of each thread.
_NUMBERS = 4096


def add_norm_windows(
    x: Tensor,
    update: Tensor | None,
    norm: nn.LayerNorm,
    grid: tuple[int, int, int],
    x_window: int = 0,
    update_window: int = 0,
    window: int = 0,
) -> tuple[Tensor, Tensor]:
    """The sum (B, H, W, C), and its norm as (V, window, window, C); 0: as (B, H, W, C) too.

    ``grid`` is (B, H, W). ``x`` and ``update`` lie in windows of their own, 0: in the grid. One
    ``update`` (1, H, W, C) is added to every image. Windows beyond the edge hold zeros.
    """
    batch, height, width = grid
    channels = x.shape[3]
    x = x.contiguous()
    added = x if update is None else update.contiguous()
    total = x if update is None else x.new_empty(batch, height, width, channels)
    if window:
        count = batch * -(-height // window) * -(-width // window)
        normed = x.new_empty(count, window, window, channels)
    else:
        normed = torch.empty_like(total)
    wide = triton.next_power_of_2(channels)
    tokens = max(1, _NUMBERS // wide)
    launch(
        _add_norm_windows,
        (triton.cdiv(normed.numel() // channels, tokens),),
        x,
        added,
        norm.weight,
        norm.bias,
        total,
        normed,
        normed.numel() // channels,
        added.numel() // channels,
        height,
        width,
        norm.eps,
        ADDS=update is not None,
        CHANNELS=channels,
        WIDE=wide,
        TOKENS=tokens,
        X_WINDOW=x_window,
        UPDATE_WINDOW=update_window,
        WINDOW=window,
    )
    return total, normed


@triton.jit  # type: ignore[untyped-decorator]
def _token(image, row, column, height, width, WINDOW: tl.constexpr):  # type: ignore[no-untyped-def]
    """The index of a place of the grid in a tensor of windows, or of the grid."""
    token = (image * height + row) * width + column
    if WINDOW > 0:
        tile = image * tl.cdiv(height, WINDOW) + row // WINDOW
        tile = tile * tl.cdiv(width, WINDOW) + column // WINDOW
        token = (tile * WINDOW + row % WINDOW) * WINDOW + column % WINDOW
    return token


# One kernel for all sizes of images and batches.
@triton.jit(  # type: ignore[untyped-decorator]
    do_not_specialize=["tokens", "updates", "height", "width"]
)
def _add_norm_windows(  # type: ignore[no-untyped-def]
    x,
    update,
    weight,
    bias,
    total_out,
    normed_out,
    tokens,
    updates,
    height,
    width,
    epsilon,
    ADDS: tl.constexpr,
    CHANNELS: tl.constexpr,
    WIDE: tl.constexpr,
    TOKENS: tl.constexpr,
    X_WINDOW: tl.constexpr,
    UPDATE_WINDOW: tl.constexpr,
    WINDOW: tl.constexpr,
):
    """One block of tokens, in the order of the norm."""
    place = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    if WINDOW > 0:
        columns = tl.cdiv(width, WINDOW)
        tile = place // (WINDOW * WINDOW)
        column = tile % columns * WINDOW + place % WINDOW
        tile_row = tile // columns
        row = tile_row % tl.cdiv(height, WINDOW) * WINDOW + place // WINDOW % WINDOW
        image = tile_row // tl.cdiv(height, WINDOW)
    else:
        column = place % width
        row = place // width % height
        image = place // width // height
    channel = tl.arange(0, WIDE)[None, :]
    within = channel < CHANNELS
    inside = ((place < tokens) & (row < height) & (column < width))[:, None]
    known = inside & within
    own = _token(image, row, column, height, width, X_WINDOW)[:, None] * CHANNELS + channel
    total = tl.load(x + own, mask=known, other=0).to(tl.float32)
    if ADDS:
        other = _token(image, row, column, height, width, UPDATE_WINDOW) % updates
        total += tl.load(update + other[:, None] * CHANNELS + channel, mask=known, other=0).to(
            tl.float32
        )
        grid = _token(image, row, column, height, width, 0)[:, None] * CHANNELS + channel
        tl.store(total_out + grid, total.to(total_out.dtype.element_ty), mask=known)
    mean = tl.sum(total, 1) / CHANNELS
    deviation = tl.where(within, total - mean[:, None], 0)
    variance = tl.sum(deviation * deviation, 1) / CHANNELS
    normed = deviation * tl.rsqrt(variance + epsilon)[:, None]
    normed = normed * tl.load(weight + channel, mask=within, other=0).to(tl.float32)
    normed += tl.load(bias + channel, mask=within, other=0).to(tl.float32)
    normed = tl.where(inside, normed, 0)
    tl.store(
        normed_out + place[:, None] * CHANNELS + channel,
        normed.to(normed_out.dtype.element_ty),
        mask=(place[:, None] < tokens) & within,
    )
