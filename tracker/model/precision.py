"""The precision that the network computes in.

On a CUDA device all products are in the dtype asked for. On a processor those are that gain much
time for little that the masks move, measured one layer at a time: MLPs and the projections to
queries, keys and values in the last two stages of the trunk (``benchmarks``). Earlier stages
make the fine maps, which the borders of masks are drawn by; what adds to the sum over the blocks
without an MLP before it is a small product whose rounding is heard in full; attention in bfloat16
without AMX is no faster.
"""

from __future__ import annotations

import torch
from torch import nn

from tracker.model import Sam2


def autocast(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    """What the network is called in; on a processor, layers know it by their weights instead."""
    return torch.autocast(
        device.type, dtype, enabled=dtype != torch.float32 and device.type != "cpu"
    )


def compute_in(model: Sam2, dtype: torch.dtype, device: torch.device) -> None:
    """Let a frozen network compute in this dtype, called in ``autocast``.

    float32 on a CUDA device turns TF32 off in cuDNN, for the process: PyTorch's convolutions
    would otherwise keep 10 bits of what they multiply.
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
    """Weights of products in the dtype of the products; results are the same bit for bit.

    Autocast rounds frozen weights anew in every call: it keeps rounded copies only of those that
    are trained.
    """
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            module.to(dtype)
