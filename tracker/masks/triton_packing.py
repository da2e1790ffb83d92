"""Upsampling, packing and measuring of masks as one Triton kernel.

Bilinear with half-pixel centres, as ``images.transforms.resize_logits``; bits as ``masks.bits``. A
program makes a few rows of one mask; measures of all of them meet in atomic maxima and sums. With
``TRITON_INTERPRET=1`` it runs on a processor, for tests.

Dimensions: N objects, h w mask grid, H W source size of an object.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

# Rows of a program, and bytes of a row that it makes at a time.
ROWS, BYTES = 4, 32


def pack_masks(
    logits_N1hw: Tensor, places_N3: Tensor, heights: Sequence[int], widths: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """See ``masks.packing.pack_masks``."""
    logits = logits_N1hw.contiguous()
    count, _, height, width = logits.shape
    size = sum(down * -(-across // 8) for down, across in zip(heights, widths, strict=True))
    bits = torch.empty(size, dtype=torch.uint8, device=logits.device)
    measures_N5 = torch.zeros(count, 5, dtype=torch.int32, device=logits.device)
    # Triton launches on the current device, wherever the tensors are.
    with torch.cuda.device_of(logits):
        _pack[(triton.cdiv(max(heights), ROWS), count)](
            logits, places_N3, bits, measures_N5, height, width, ROWS=ROWS, BYTES=BYTES
        )
    return bits, measures_N5


@triton.jit  # type: ignore[untyped-decorator]
def _pack(  # type: ignore[no-untyped-def]
    logits,
    places,
    bits,
    measures,
    cells_down,
    cells_across,
    ROWS: tl.constexpr,
    BYTES: tl.constexpr,
):
    """A few rows of one mask."""
    row = tl.program_id(1).to(tl.int64)
    height = tl.load(places + 3 * row).to(tl.int32)
    width = tl.load(places + 3 * row + 1).to(tl.int32)
    own = bits + tl.load(places + 3 * row + 2)
    grid = logits + row * cells_down * cells_across
    wide = (width + 7) // 8
    y = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    if tl.program_id(0) * ROWS < height:
        down = cells_down / height.to(tl.float32)
        across = cells_across / width.to(tl.float32)
        y_cell = tl.maximum((y + 0.5) * down - 0.5, 0.0)
        y_low = tl.minimum(y_cell.to(tl.int32), cells_down - 1)
        y_high = tl.minimum(y_low + 1, cells_down - 1)
        y_share = (y_cell - y_low)[:, None, None]
        low = grid + (y_low * cells_across)[:, None, None]
        high = grid + (y_high * cells_across)[:, None, None]
        place = tl.arange(0, 8)[None, None, :]
        from_right = 0
        right = 0
        from_bottom = 0
        bottom = 0
        area = 0
        for first in range(0, wide, BYTES):
            byte = first + tl.arange(0, BYTES)
            x = byte[None, :, None] * 8 + place
            inside = (y < height)[:, None, None] & (x < width)
            x_cell = tl.maximum((x + 0.5) * across - 0.5, 0.0)
            x_low = tl.minimum(x_cell.to(tl.int32), cells_across - 1)
            x_high = tl.minimum(x_low + 1, cells_across - 1)
            x_share = x_cell - x_low
            upper = tl.load(low + x_low, mask=inside, other=0.0) * (1 - x_share)
            upper += tl.load(low + x_high, mask=inside, other=0.0) * x_share
            lower = tl.load(high + x_low, mask=inside, other=0.0) * (1 - x_share)
            lower += tl.load(high + x_high, mask=inside, other=0.0) * x_share
            shown = (upper * (1 - y_share) + lower * y_share > 0) & inside
            set_bits = shown.to(tl.int32)
            packed = tl.sum(set_bits << (7 - place), axis=2)
            tl.store(
                own + y[:, None] * wide + byte[None, :],
                packed.to(tl.uint8),
                mask=(y < height)[:, None] & (byte < wide)[None, :],
            )
            y_of = y[:, None, None]
            from_right = tl.maximum(from_right, _most(tl.where(shown, width - x, 0)))
            right = tl.maximum(right, _most(tl.where(shown, x + 1, 0)))
            from_bottom = tl.maximum(from_bottom, _most(tl.where(shown, height - y_of, 0)))
            bottom = tl.maximum(bottom, _most(tl.where(shown, y_of + 1, 0)))
            area += tl.sum(tl.sum(tl.sum(set_bits, axis=2), axis=1), axis=0)
        if area > 0:
            to = measures + 5 * row
            tl.atomic_max(to, from_right)
            tl.atomic_max(to + 1, from_bottom)
            tl.atomic_max(to + 2, right)
            tl.atomic_max(to + 3, bottom)
            tl.atomic_add(to + 4, area)


@triton.jit
def _most(values):  # type: ignore[no-untyped-def]
    """The largest of values in three dimensions."""
    return tl.max(tl.max(tl.max(values, axis=2), axis=1), axis=0)
