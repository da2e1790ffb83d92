"""float32 attention on a CPU, in chunks that fit its cache, with oneDNN's products.

PyTorch's fused kernel calls MKL for its products (see ``onednn_linear``); this is 2 to 2.6 times as
fast on an AMD EPYC, and takes values of any width. PyTorch's one-pass softmax normalises the scores
of a chunk; its divisor is recovered from its largest result, exp(0) / sum, and the chunks are then
weighted as in online softmax (arXiv 1805.02867). The scores of all keys never exist at once.

Dimensions: N rows, L queries, S keys, C channels, c channels of the values, l and s the queries and
keys of a chunk, P chunks.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tracker.model.onednn_linear import onednn_is_faster, onednn_linear

# 4 MiB of scores: measured best of 64 to 1,024 queries and 1,024 to 28,736 keys.
_QUERIES, _KEYS = 512, 2048
# Smaller attention (the trunk's windows, the decoder's tokens) stays with the fused kernel, which
# takes all rows in one call.
_LEAST_SCORES = 128 * 128


def chunked_is_faster(query_NLC: Tensor, key_NSC: Tensor) -> bool:
    """Whether attention of these, possibly with heads before L and S, is faster in chunks."""
    scores = query_NLC.shape[-2] * key_NSC.shape[-2]
    multiplications = scores * query_NLC.shape[-1]
    exact = query_NLC.dtype == torch.float32  # scores in bfloat16 are too inexact
    return exact and scores >= _LEAST_SCORES and onednn_is_faster(query_NLC, multiplications)


def attend_in_chunks(query_NLC: Tensor, key_NSC: Tensor, value_NSc: Tensor) -> Tensor:
    """Softmax attention -> (N, L, c)."""
    count, length, channels = query_NLC.shape
    # Heads are strided views, for which oneDNN falls back to a loop 500 times as slow.
    scaled = (query_NLC * channels**-0.5).contiguous()
    attended = value_NSc.new_empty(count, length, value_NSc.shape[2])
    for row in range(count):
        keys = key_NSC[row].contiguous().split(_KEYS)
        values = [value_sc.T.contiguous() for value_sc in value_NSc[row].split(_KEYS)]
        for begin in range(0, length, _QUERIES):
            query_lC = scaled[row, begin : begin + _QUERIES]
            attended[row, begin : begin + _QUERIES] = _attend(query_lC, keys, values)
    return attended


def _attend(query_lC: Tensor, keys: tuple[Tensor, ...], values: list[Tensor]) -> Tensor:
    if len(keys) == 1:
        return onednn_linear(onednn_linear(query_lC, keys[0]).softmax(dim=1), values[0])
    parts, sums, largest = [], [], []
    for key_sC, value_cs in zip(keys, values, strict=True):
        score_ls = onednn_linear(query_lC, key_sC)
        weight_ls = score_ls.softmax(dim=1)
        largest.append(score_ls.amax(dim=1))
        sums.append(weight_ls.amax(dim=1).reciprocal())
        parts.append(onednn_linear(weight_ls, value_cs))
    weight_Pl = torch.stack(largest).softmax(dim=0) * torch.stack(sums)
    weight_Pl /= weight_Pl.sum(dim=0)
    return torch.einsum("pl,plc->lc", weight_Pl, torch.stack(parts))
