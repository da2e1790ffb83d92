"""Process independent rows in chunks, so that intermediate results stay small.

The intermediate results of a layer, for a whole map or for all objects at once, are most of a
network's memory; those of a chunk also stay in the cache. Used on a CPU without gradients only.
Results are equal up to rounding; bit-identical if a row's arithmetic does not depend on the number
of rows.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

# Size of the widest intermediate result of a chunk, in float32. Measured for the encoder of tiny at
# 1024², where less is slower and more takes more memory.
_CHUNK_BYTES = 8 << 20


def rows_per_chunk(x: Tensor, floats_a_row: int) -> int:
    """Rows of ``x`` per chunk, if each produces ``floats_a_row`` numbers; at least one."""
    if x.device.type != "cpu" or torch.is_grad_enabled():
        return sys.maxsize
    return max(1, _CHUNK_BYTES // (4 * floats_a_row))


def in_chunks(layer: Callable[[Tensor], Tensor], x_R: Tensor, floats_a_row: int) -> Tensor:
    """``layer`` over independent rows, (R, ...) -> (R, ...), chunk by chunk."""
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
    """``function`` over the rows of several tensors, a chunk of the N objects at a time."""
    step = rows_per_chunk(rows_N[0], floats_an_object)
    if len(rows_N[0]) <= step:
        return function(*rows_N)
    parts = [function(*some) for some in zip(*(rows.split(step) for rows in rows_N), strict=True)]
    return tuple(join(column) for column in zip(*parts, strict=True))


def join(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate parts along their rows, (R, ...), in the memory layout of the first.

    Maps (R, C, H, W) may be channels last. ``torch.cat`` loses that if a part is a single row, and
    on a CPU the decoder is a tenth slower with the other layout.
    """
    if len(parts) == 1:
        return parts[0]
    if parts[0].dim() == 4 and parts[0].stride(1) == 1:
        return torch.cat([part.permute(0, 2, 3, 1) for part in parts]).permute(0, 3, 1, 2)
    return torch.cat(tuple(parts))
