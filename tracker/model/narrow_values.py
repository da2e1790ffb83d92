"""Attention with values before their projection, if they are narrower than the keys.

Rows of the softmax P sum to 1, so P (m W + b) = (P m) W + b: the product with P has the width of
the memory m, and the projection runs over the queries instead of the far more numerous keys.
PyTorch's fused kernels need values as wide as keys; this processes the queries in chunks instead.

Dimensions: N objects, L queries, S keys, C channels, c channels of the values, T chunks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tracker.model.chunked_attention import attend_in_chunks, chunked_is_faster

# Queries of one object per thread and chunk. Measured for 1,824 keys of 128 and 14,368 of 256
# channels: with 64 the products are too small, and the scores of 512 exceed the second-level cache.
_QUERIES = 128


def narrow_is_faster(key_NSC: Tensor, value_NSc: Tensor, valid_NS: Tensor | None) -> bool:
    """Whether this is faster than the fused kernel: for float32 on a CPU, 1.3 to 2.6 times."""
    return (
        key_NSC.device.type == "cpu"
        and key_NSC.dtype == torch.float32
        and value_NSc.shape[2] < key_NSC.shape[2]
        and valid_NS is None
        and not torch.is_grad_enabled()
    )


def attend_narrow(query_NLC: Tensor, key_NSC: Tensor, value_NSc: Tensor) -> Tensor:
    """Softmax attention of one head, values narrower than keys -> (N, L, c)."""
    if chunked_is_faster(query_NLC, key_NSC):
        return attend_in_chunks(query_NLC, key_NSC, value_NSc)
    count, length, channels = query_NLC.shape
    scaled = query_NLC * channels**-0.5
    attended = value_NSc.new_empty(count, length, value_NSc.shape[2])
    # A batched product gives every thread its own chunk, whose scores stay in that core's cache for
    # the softmax; a single large product would be split along the keys.
    step = _QUERIES * torch.get_num_threads()
    for row in range(count):
        key_CS, value_Sc = key_NSC[row].T, value_NSc[row]
        for begin in range(0, length, step):
            some_LC = scaled[row, begin : begin + step]
            size = _QUERIES if len(some_LC) % _QUERIES == 0 else len(some_LC)
            chunks_TLC = some_LC.unflatten(0, (-1, size))
            count_T = len(chunks_TLC)
            weights_TLS = torch.bmm(chunks_TLC, key_CS.expand(count_T, -1, -1)).softmax(dim=-1)
            torch.bmm(
                weights_TLS,
                value_Sc.expand(count_T, -1, -1),
                out=attended[row, begin : begin + step].unflatten(0, (-1, size)),
            )
    return attended
