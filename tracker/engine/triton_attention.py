"""Attention of one head as Triton kernels, for values narrower than keys and for few rows.

Cross-attention to the memory has keys of 256 channels and, before their projection, values of 64
(see ``model.narrow_values``): the product with the softmax costs a quarter. PyTorch's fused
kernels need both equally wide. Rows with fewer memories stop at their own counts, which are on the
device: no mask is read, and padding is not computed.

One row of 4,096 queries fills 32 programs of 128, a quarter of a large device. So its keys may be
split over several programs, and a second kernel combines their results.

Online softmax over blocks of keys (arXiv 2205.14135). Needs triton, which comes with PyTorch for
CUDA; with ``TRITON_INTERPRET=1`` it runs on a processor, for tests.

Dimensions: N rows, L queries, S = M + P keys, first M spatial and then P plain ones, C channels,
c channels of the values.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from tracker.engine.triton_launch import launch

_COMBINED_QUERIES = 16


class Blocks(NamedTuple):
    """Block sizes in queries and keys, warps, and pipeline stages."""

    queries: int
    keys: int
    warps: int
    stages: int

    def elements(self, channels: int, narrow: int) -> int:
        """What lies in shared memory: the queries, and keys and values of every stage."""
        return channels * self.queries + self.stages * self.keys * (channels + narrow)


def attend(
    query_NLC: Tensor,
    key_NSC: Tensor,
    value_NSc: Tensor,
    plain_keys: int,
    real_N2: Tensor | None,
    blocks: Blocks,
    splits: int = 1,
) -> Tensor:
    """Softmax attention -> (N, L, c) in the queries' dtype.

    ``real_N2`` (int32) counts the real keys, which come first among the spatial ones and among the
    last ``plain_keys``; None: all are. C and c are powers of two, at least 16.
    """
    count, length, channels = query_NLC.shape
    keys, narrow = value_NSc.shape[1:]
    query, key = query_NLC.contiguous(), key_NSC.contiguous()
    value = value_NSc.to(query.dtype).contiguous()
    out = torch.empty(count, length, narrow, dtype=query.dtype, device=query.device)
    sums, largest, total = out, query, query
    if splits > 1:
        sums = query.new_empty(count, splits, length, narrow, dtype=torch.float32)
        largest, total = query.new_empty(2, count, splits, length, dtype=torch.float32)
    launch(
        _attend,
        (triton.cdiv(length, blocks.queries), splits, count),
        query,
        key,
        value,
        query if real_N2 is None else real_N2,
        sums,
        largest,
        total,
        length,
        keys,
        keys - plain_keys,
        splits,
        # The device computes exponentials of base 2.
        channels**-0.5 * math.log2(math.e),
        CHANNELS=channels,
        NARROW=narrow,
        QUERIES=blocks.queries,
        KEYS=blocks.keys,
        COUNTED=real_N2 is not None,
        SPLIT=splits > 1,
        num_warps=blocks.warps,
        num_stages=blocks.stages,
    )
    if splits > 1:
        launch(
            _combine,
            (triton.cdiv(length, _COMBINED_QUERIES), count),
            sums,
            largest,
            total,
            out,
            length,
            splits,
            NARROW=narrow,
            QUERIES=_COMBINED_QUERIES,
        )
    return out


@triton.jit(do_not_specialize=["keys", "spatial", "splits"])  # type: ignore[untyped-decorator]
def _attend(  # type: ignore[no-untyped-def]
    query,
    key,
    value,
    real,
    sums_out,
    largest_out,
    total_out,
    length,
    keys,
    spatial,
    splits,
    scale,
    CHANNELS: tl.constexpr,
    NARROW: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    COUNTED: tl.constexpr,
    SPLIT: tl.constexpr,
):
    """One block of queries of one row, with all keys or with one part of them.

    A part is an equal share of the spatial keys, in whole blocks; the last has the plain keys too.
    """
    row = tl.program_id(2).to(tl.int64)
    split = tl.program_id(1)
    place = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    channel = tl.arange(0, CHANNELS)
    narrow = tl.arange(0, NARROW)
    own = (row * length + place)[:, None]
    asked = tl.load(
        query + own * CHANNELS + channel[None, :], mask=place[:, None] < length, other=0
    )
    if COUNTED:
        spatial_end = tl.load(real + 2 * row)
        plain_end = spatial + tl.load(real + 2 * row + 1)
    else:
        spatial_end = spatial
        plain_end = keys
    spatial_begin = 0
    if SPLIT:
        share = tl.cdiv(tl.cdiv(spatial_end, splits), KEYS) * KEYS
        spatial_begin = split * share
        spatial_end = tl.minimum(spatial_begin + share, spatial_end)
        plain_end = tl.where(split == splits - 1, plain_end, spatial)

    largest = tl.full((QUERIES,), float("-inf"), tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    sums = tl.zeros((QUERIES, NARROW), tl.float32)
    row_key = key + row * keys * CHANNELS
    row_value = value + row * keys * NARROW
    for part in tl.static_range(2):
        if part == 0:
            begin = spatial_begin
            end = spatial_end
        else:
            begin = spatial
            end = plain_end
        for first in range(begin, end, KEYS):
            other = first + tl.arange(0, KEYS)
            inside = other < end
            known = tl.load(
                row_key + other[:, None] * CHANNELS + channel[None, :],
                mask=inside[:, None],
                other=0,
            )
            score = tl.dot(asked, tl.trans(known), input_precision="ieee") * scale
            score = tl.where(inside[None, :], score, float("-inf"))
            higher = tl.maximum(largest, tl.max(score, 1))
            weight = tl.exp2(score - higher[:, None])
            shrunk = tl.exp2(largest - higher)
            content = tl.load(
                row_value + other[:, None] * NARROW + narrow[None, :],
                mask=inside[:, None],
                other=0,
            )
            total = total * shrunk + tl.sum(weight, 1)
            sums = sums * shrunk[:, None] + tl.dot(
                weight.to(content.dtype), content, input_precision="ieee"
            )
            largest = higher
    if SPLIT:
        at = (row * splits + split) * length + place
        tl.store(largest_out + at, largest, mask=place < length)
        tl.store(total_out + at, total, mask=place < length)
        own = at[:, None]
    else:
        sums = sums / total[:, None]
    tl.store(
        sums_out + own * NARROW + narrow[None, :],
        sums.to(sums_out.dtype.element_ty),
        mask=place[:, None] < length,
    )


@triton.jit(do_not_specialize=["splits"])  # type: ignore[untyped-decorator]
def _combine(  # type: ignore[no-untyped-def]
    sums_in,
    largest_in,
    total_in,
    out,
    length,
    splits,
    NARROW: tl.constexpr,
    QUERIES: tl.constexpr,
):
    """One block of queries of one row from all parts of its keys; a part without keys counts 0."""
    row = tl.program_id(1).to(tl.int64)
    place = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    narrow = tl.arange(0, NARROW)
    known = place < length
    largest = tl.full((QUERIES,), float("-inf"), tl.float32)
    for split in range(splits):
        at = (row * splits + split) * length + place
        largest = tl.maximum(largest, tl.load(largest_in + at, mask=known, other=0))
    total = tl.zeros((QUERIES,), tl.float32)
    sums = tl.zeros((QUERIES, NARROW), tl.float32)
    for split in range(splits):
        at = (row * splits + split) * length + place
        weight = tl.exp2(tl.load(largest_in + at, mask=known, other=0) - largest)
        total += weight * tl.load(total_in + at, mask=known, other=1)
        sums += weight[:, None] * tl.load(
            sums_in + at[:, None] * NARROW + narrow[None, :], mask=known[:, None], other=0
        )
    own = (row * length + place)[:, None]
    tl.store(
        out + own * NARROW + narrow[None, :],
        (sums / total[:, None]).to(out.dtype.element_ty),
        mask=known[:, None],
    )
