"""The precision that the network computes in.

On a CUDA device all products are in the dtype asked for. On a processor those of the trunk are,
and everything else is float32: one module at a time in bfloat16 (``tests/benchmarks``), trunk and
memory attention move the masks, and only the trunk gains time, since attention without AMX is
faster in float32 and the products of neck, decoder and memory encoder are small.
"""

from __future__ import annotations

import torch
from torch import nn

from tracker.model import Sam2


def autocast(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    """What the network is called in; within it, on a processor, the trunk has its own."""
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
    if device.type == "cpu":
        model.image_encoder.trunk_dtype = dtype
        store_as_computed(model.image_encoder.trunk, dtype)
    else:
        store_as_computed(model, dtype)


def store_as_computed(network: nn.Module, dtype: torch.dtype) -> None:
    """Weights of products in the dtype of the products; results are the same bit for bit.

    Autocast rounds frozen weights anew in every call: it keeps rounded copies only of those that
    are trained.
    """
    for module in network.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            module.to(dtype)
