"""The precision of the network's matrix products.

On a CUDA device all products run in the requested dtype. On a CPU only some do, chosen layer by
layer for much time and little change of the masks: MLPs and the query, key and value projections
in the last two stages of the trunk (``docs/benchmarks.md``). Earlier stages produce the fine maps,
which determine mask contours; projections that add to the residual sum directly are small, and
their rounding shows in full; attention in bfloat16 without AMX is no faster.
"""

from __future__ import annotations

import torch
from torch import nn

from tracker.model import Sam2


def autocast(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    """The context for calls of the network; on a CPU, layers use their weights' dtype instead."""
    return torch.autocast(
        device.type, dtype, enabled=dtype != torch.float32 and device.type != "cpu"
    )


def compute_in(model: Sam2, dtype: torch.dtype, device: torch.device) -> None:
    """Set up a frozen network for this dtype; call it within ``autocast``.

    float32 on a CUDA device turns TF32 off in cuDNN for the process: PyTorch's convolutions would
    otherwise round their operands to 10 bits.
    """
    if device.type == "cuda" and dtype == torch.float32:
        torch.backends.cudnn.allow_tf32 = False
    if device.type != "cpu":
        store_as_computed(model, dtype)
        return
    for block in model.image_encoder.trunk.coarse_blocks:
        store_as_computed(block.attn.qkv, dtype)
        store_as_computed(block.mlp, dtype)


def store_as_computed(network: nn.Module, dtype: torch.dtype) -> None:
    """Store weights in the dtype of their products; results are bit-identical.

    Autocast would round frozen weights in every call: it caches only trained ones.
    """
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            module.to(dtype)
