"""Rows that know nothing of each other, so many at a time that their work stays small.

What a layer makes inside, for the whole map or for all objects at once, is most of what a network
needs in memory; pieces of it stay in the cache besides. On a processor without gradients only:
elsewhere all rows go together. Results are the same to rounding; where a row's arithmetic does not
depend on how many there are, bit for bit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# What is widest inside a layer, in float32, of the rows that go together: measured for the
# encoder of tiny at 1024², where less is slower and more takes more memory.
_CHUNK_BYTES = 8 << 20


def rows_per_chunk(x: Tensor, floats_a_row: int) -> int:
    """How many rows of ``x`` go together, where each makes so many numbers; at least one."""
    if x.device.type != "cpu" or torch.is_grad_enabled():
        return sys.maxsize
    return max(1, _CHUNK_BYTES // (4 * floats_a_row))


def in_chunks(layer: Callable[[Tensor], Tensor], x_R: Tensor, floats_a_row: int) -> Tensor:
    """``layer`` over rows that know nothing of each other, (R, ...) -> (R, ...)."""
    step = rows_per_chunk(x_R, floats_a_row)
    if len(x_R) <= step:
        return layer(x_R)
    first = layer(x_R[:step])
    out = first.new_empty(len(x_R), *first.shape[1:])
    out[:step] = first
    for begin in range(step, len(x_R), step):
        out[begin : begin + step] = layer(x_R[begin : begin + step])
    return out


def objects_in_chunks(
    function: Callable[..., tuple[Tensor, ...]], floats_an_object: int, *rows_N: Tensor
) -> tuple[Tensor, ...]:
    """``function`` over the rows of several tensors, a few of the N objects at a time."""
    step = rows_per_chunk(rows_N[0], floats_an_object)
    if len(rows_N[0]) <= step:
        return function(*rows_N)
    parts = [function(*some) for some in zip(*(rows.split(step) for rows in rows_N), strict=True)]
    return tuple(join(column) for column in zip(*parts, strict=True))


def join(parts: Sequence[Tensor]) -> Tensor:
    """What came of the pieces, one after the other, (R, ...); laid out in memory as the first is.

    Maps (R, C, H, W) may lie channels last. ``torch.cat`` takes that from them where a part is a
    single row, and on a processor the decoder is a tenth slower with maps that lie otherwise.
    """
    if len(parts) == 1:
        return parts[0]
    if parts[0].dim() == 4 and parts[0].stride(1) == 1:
        return torch.cat([part.permute(0, 2, 3, 1) for part in parts]).permute(0, 3, 1, 2)
    return torch.cat(tuple(parts))
