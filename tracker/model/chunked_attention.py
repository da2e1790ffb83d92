"""Attention of float32 on a processor, in pieces that its cache holds, with oneDNN's products.

PyTorch's fused kernel calls MKL for its products (see ``products``); this is 2 to 2.6 times as
fast on an AMD EPYC, and takes values of any width. A piece's scores are normalised among
themselves by PyTorch's softmax, which is one pass; what that divided by is read off its largest
result, exp(0) / sum, and the pieces are then weighed against each other as in online softmax
(arXiv 1805.02867). Scores of all keys never exist at once.

Dimensions: N rows, L queries, S keys, C channels, c channels of the values, l s those of a piece.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tracker.model.onednn_linear import onednn_is_faster, onednn_linear

# 4 MiB of scores: measured best of 64 to 1,024 queries and 1,024 to 28,736 keys.
_QUERIES, _KEYS = 512, 2048
# Shorter ones than this (the trunk's windows, the decoder's tokens) stay with the fused kernel,
# which takes all rows in one call.
_LEAST_SCORES = 128 * 128


def chunked_is_faster(query_NLC: Tensor, key_NSC: Tensor) -> bool:
    """Whether attention of these (also with heads before L and S) is faster this way."""
    scores = query_NLC.shape[-2] * key_NSC.shape[-2]
    multiplications = scores * query_NLC.shape[-1]
    exact = query_NLC.dtype == torch.float32  # scores in bfloat16 would be far off
    return exact and scores >= _LEAST_SCORES and onednn_is_faster(query_NLC, multiplications)


def attend_in_chunks(query_NLC: Tensor, key_NSC: Tensor, value_NSc: Tensor) -> Tensor:
    """Softmax attention, every row with its own keys -> (N, L, c)."""
    count, length, channels = query_NLC.shape
    # Heads are strided views; oneDNN takes those too, with a plain loop 500 times as slow.
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
