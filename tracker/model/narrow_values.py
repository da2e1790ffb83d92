"""Attention with values before their projection, if they are narrower than the keys.

Rows of the softmax P sum to 1, so P (m W + b) = (P m) W + b: the product with P has the width of
the memory m, and the projection runs over the queries instead of the far more numerous keys.
PyTorch's fused kernels need values as wide as keys; this processes chunks instead.

Dimensions: N objects, L queries, S keys, C channels, c channels of the values.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tracker.model import cpu_paths
from tracker.model.chunked_attention import attend_in_chunks, takes_chunks


def narrow_is_faster(
    query_NLC: Tensor, key_NSC: Tensor, value_NSc: Tensor, valid_NS: Tensor | None
) -> bool:
    """Whether this is faster than the fused kernel: by measurement, for float32 on a CPU.

    Always in a network that is exported, whose runtime fuses plain products.
    """
    return (
        value_NSc.shape[2] < key_NSC.shape[2]
        and valid_NS is None
        and (
            torch.compiler.is_exporting()
            or takes_chunks(query_NLC, key_NSC, cpu_paths.current().narrow)
        )
    )


def attend_narrow(query_NLC: Tensor, key_NSC: Tensor, value_NSc: Tensor) -> Tensor:
    """Softmax attention of one head, values narrower than keys -> (N, L, c)."""
    if torch.compiler.is_exporting():
        score_NLS = (query_NLC * query_NLC.shape[2] ** -0.5) @ key_NSC.transpose(1, 2)
        attended: Tensor = score_NLS.softmax(dim=2) @ value_NSc
        return attended
    return attend_in_chunks(query_NLC, key_NSC, value_NSc, cpu_paths.current().narrow)
