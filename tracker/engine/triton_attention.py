"""Attention of one head whose values are narrower than its keys, as one Triton kernel.

Cross-attention to the memory has keys of 256 channels and, before their projection, values of 64
(see ``model.narrow_values``): the product with the softmax costs a quarter. PyTorch's fused
kernels need both equally wide. Rows with fewer memories stop at their own counts, which are on the
device: no mask is read, and padding is not computed.

Online softmax over blocks of keys (arXiv 2205.14135). Needs triton, which comes with PyTorch for
CUDA; with ``TRITON_INTERPRET=1`` it runs on a processor, for tests.

Dimensions: N rows, L queries, S = M + P keys, first M spatial and then P plain ones, C channels,
c channels of the values.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Blocks:
    """Block sizes in queries and keys, warps, and pipeline stages."""

    queries: int
    keys: int
    warps: int
    stages: int


# 256-channel queries fill shared memory; the fastest of these depends on the device.
BLOCKS = (Blocks(128, 64, 8, 2), Blocks(64, 64, 4, 2), Blocks(128, 32, 8, 3))


def attend_narrow(
    query_NLC: Tensor,
    key_NSC: Tensor,
    value_NSc: Tensor,
    plain_keys: int,
    valid_NS: Tensor | None,
    blocks: Blocks = BLOCKS[0],
) -> Tensor:
    """Softmax attention -> (N, L, c) in the queries' dtype.

    ``valid_NS`` marks the real keys, which come first among the spatial ones and among the last
    ``plain_keys``. C and c are powers of two, at least 16.
    """
    count, length, channels = query_NLC.shape
    keys, narrow = value_NSc.shape[1:]
    spatial = keys - plain_keys
    query, key = query_NLC.contiguous(), key_NSC.contiguous()
    value = value_NSc.to(query.dtype).contiguous()
    out = torch.empty(count, length, narrow, dtype=query.dtype, device=query.device)
    real_N2 = query if valid_NS is None else _real(valid_NS, spatial)
    # Triton launches on the current device, wherever the tensors are.
    with torch.cuda.device_of(query):
        _attend[(triton.cdiv(length, blocks.queries), count)](
            query,
            key,
            value,
            real_N2,
            out,
            length,
            keys,
            spatial,
            # The device computes exponentials of base 2.
            channels**-0.5 * math.log2(math.e),
            CHANNELS=channels,
            NARROW=narrow,
            QUERIES=blocks.queries,
            KEYS=blocks.keys,
            COUNTED=valid_NS is not None,
            num_warps=blocks.warps,
            num_stages=blocks.stages,
        )
    return out


def _real(valid_NS: Tensor, spatial: int) -> Tensor:
    """How many spatial and plain keys of each row are real, int32 (N, 2)."""
    counts = valid_NS[:, :spatial].sum(dim=1), valid_NS[:, spatial:].sum(dim=1)
    return torch.stack(counts, dim=1).int()


@triton.jit  # type: ignore[untyped-decorator]
def _attend(  # type: ignore[no-untyped-def]
    query,
    key,
    value,
    real,
    out,
    length,
    keys,
    spatial,
    scale,
    CHANNELS: tl.constexpr,
    NARROW: tl.constexpr,
    QUERIES: tl.constexpr,
    KEYS: tl.constexpr,
    COUNTED: tl.constexpr,
):
    """One block of queries of one row."""
    row = tl.program_id(1).to(tl.int64)
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

    largest = tl.full((QUERIES,), float("-inf"), tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    sums = tl.zeros((QUERIES, NARROW), tl.float32)
    row_key = key + row * keys * CHANNELS
    row_value = value + row * keys * NARROW
    for part in tl.static_range(2):
        if part == 0:
            begin = 0
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
    answer = (sums / total[:, None]).to(out.dtype.element_ty)
    tl.store(out + own * NARROW + narrow[None, :], answer, mask=place[:, None] < length)
