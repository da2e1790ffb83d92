"""float32 attention on a CPU, in chunks that fit its cache, by products of oneDNN or MKL.

Unlike PyTorch's fused kernel it takes values of any width, and either library. Chunks are combined
by online softmax (arXiv 1805.02867): the scores of all keys never exist at once.

Dimensions: N rows, L queries, S keys, C channels, c channels of the values, l and s the queries and
keys of a chunk, P chunks, T pieces of queries, one for each thread.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from tracker.model.cpu_paths import AttentionPath
from tracker.model.onednn_linear import LEAST_MULTIPLICATIONS, onednn_linear

# Smaller attention (the trunk's windows, the decoder's tokens) stays with the fused kernel, which
# takes all rows in one call.
_LEAST_SCORES = 128 * 128
# Fewer queries for a thread make its products too small.
_LEAST_QUERIES = 64
# 2 to this power is the smallest normal float32; processors are slow with smaller ones.
_LEAST_EXPONENT = -126


def takes_chunks(query_NLC: Tensor, key_NSC: Tensor, path: AttentionPath) -> bool:
    """Whether ``path`` is in chunks, and fits these, which may have heads before L and S."""
    scores = query_NLC.shape[-2] * key_NSC.shape[-2]
    return (
        path.library != "fused"
        and query_NLC.device.type == "cpu"
        and query_NLC.dtype == torch.float32  # scores in bfloat16 are too inexact
        and scores >= _LEAST_SCORES
        and scores * query_NLC.shape[-1] >= LEAST_MULTIPLICATIONS
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()  # the compiler chooses the library itself
    )


def attend_in_chunks(
    query_NLC: Tensor, key_NSC: Tensor, value_NSc: Tensor, path: AttentionPath
) -> Tensor:
    """Softmax attention -> (N, L, c)."""
    count, length, channels = query_NLC.shape
    base = 1.0 if path.library == "onednn" else math.log2(math.e)  # of the softmax: e or 2
    # Heads are strided views, for which oneDNN falls back to a loop 500 times as slow.
    scaled_NLC = (query_NLC * (base * channels**-0.5)).contiguous()
    attended_NLc = value_NSc.new_empty(count, length, value_NSc.shape[2])
    if path.library == "mkl":
        _by_mkl(scaled_NLC, key_NSC, value_NSc, path, attended_NLc)
    else:
        for row in range(count):
            _by_onednn(scaled_NLC[row], key_NSC[row], value_NSc[row], path, attended_NLc[row])
    return attended_NLc


def _by_onednn(
    query_LC: Tensor, key_SC: Tensor, value_Sc: Tensor, path: AttentionPath, attended_Lc: Tensor
) -> None:
    keys = key_SC.contiguous().split(path.keys)
    values = [value_sc.T.contiguous() for value_sc in value_Sc.split(path.keys)]
    for begin in range(0, len(query_LC), path.queries):
        some = slice(begin, begin + path.queries)
        attended_Lc[some] = _attend_by_onednn(query_LC[some], keys, values)


def _attend_by_onednn(query_lC: Tensor, keys: tuple[Tensor, ...], values: list[Tensor]) -> Tensor:
    """PyTorch's one-pass softmax normalises the scores of a chunk; its divisor is recovered from
    its largest result, exp(0) / sum.
    """
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


def _by_mkl(
    query_NLC: Tensor, key_NSC: Tensor, value_NSc: Tensor, path: AttentionPath, attended_NLc: Tensor
) -> None:
    """A batched product gives every thread a piece of its own, whose scores stay in that core's
    cache for the softmax; a single large product would be split along the keys. Each thread gets a
    row as long as there is one for every thread; the queries of the rows left are divided. Fewer
    queries take more keys at once, up to as many scores.

    Queries are scaled for powers of 2: PyTorch's ``exp`` is MKL's, which takes ten times as long
    wherever it underflows, as most weights of a sharp softmax do.
    """
    threads, scores = torch.get_num_threads(), path.queries * path.keys
    whole = len(query_NLC) // threads * threads
    for first in range(0, whole, threads):
        row_T = slice(first, first + threads)
        for begin in range(0, query_NLC.shape[1], path.queries):
            some = row_T, slice(begin, begin + path.queries)
            attended_NLc[some] = _attend_by_mkl(
                query_NLC[some], key_NSC[row_T], value_NSc[row_T], scores
            )
    for row in range(whole, len(query_NLC)):
        for some_LC, some_Lc in zip(
            query_NLC[row].split(path.queries * threads),
            attended_NLc[row].split(path.queries * threads),
            strict=True,
        ):
            most = max(1, min(threads, len(some_LC) // _LEAST_QUERIES))
            pieces = next(count for count in range(most, 0, -1) if len(some_LC) % count == 0)
            made_Tlc = _attend_by_mkl(
                some_LC.unflatten(0, (pieces, -1)),
                key_NSC[row].expand(pieces, -1, -1),
                value_NSc[row].expand(pieces, -1, -1),
                scores,
            )
            some_Lc.copy_(made_Tlc.flatten(0, 1))


def _attend_by_mkl(query_TlC: Tensor, key_TSC: Tensor, value_TSc: Tensor, scores: int) -> Tensor:
    pieces, length, _ = query_TlC.shape
    chunks = math.ceil(key_TSC.shape[1] / max(scores // length, 1))
    keys = math.ceil(key_TSC.shape[1] / chunks)
    largest_Tl1 = query_TlC.new_full((pieces, length, 1), -torch.inf)
    sum_Tl1 = query_TlC.new_zeros(pieces, length, 1)
    made_Tlc = query_TlC.new_zeros(pieces, length, value_TSc.shape[2])
    for key_TsC, value_Tsc in zip(
        key_TSC.split(keys, dim=1), value_TSc.split(keys, dim=1), strict=True
    ):
        score_Tls = torch.bmm(query_TlC, key_TsC.transpose(1, 2))
        higher_Tl1 = torch.maximum(largest_Tl1, score_Tls.amax(dim=2, keepdim=True))
        weight_Tls = score_Tls.sub_(higher_Tl1).clamp_(min=_LEAST_EXPONENT).exp2_()
        shrunk_Tl1 = largest_Tl1.sub_(higher_Tl1).exp2_()
        sum_Tl1.mul_(shrunk_Tl1).add_(weight_Tls.sum(dim=2, keepdim=True))
        made_Tlc.mul_(shrunk_Tl1).baddbmm_(weight_Tls, value_Tsc)
        largest_Tl1 = higher_Tl1
    return made_Tlc.div_(sum_Tl1)
