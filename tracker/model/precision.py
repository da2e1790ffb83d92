"""The precision of the network's matrix products.

On a CUDA device all products run in the requested dtype. On a CPU only some do, chosen layer by
layer for much time and little change of the masks: in Hiera MLPs and the query, key and value
projections of its last two stages (``docs/benchmarks.md``). Earlier stages produce the fine maps,
which determine mask contours; projections that add to the residual sum directly are small, and
their rounding shows in full; attention in bfloat16 without AMX is no faster.
"""

from __future__ import annotations

import logging

import torch
from torch import nn

from tracker.model import Sam2
from tracker.options import ComputeDtype

# Ampere; NVIDIA devices before it emulate bfloat16, slowly.
_BFLOAT16_CAPABILITY = (8, 0)
_logger = logging.getLogger(__name__)

# The decoder computes it without autocast.
_IN_FLOAT32 = "iou_prediction_head"


def lacks_bfloat16(device: torch.device | int) -> str | None:
    """Why a CUDA device does not compute in bfloat16, for the user; None if it does."""
    if torch.version.hip is not None:
        return None
    capability = torch.cuda.get_device_capability(device)
    if capability >= _BFLOAT16_CAPABILITY:
        return None
    return "compute capability {}.{}, bfloat16 needs {}.{}".format(
        *capability, *_BFLOAT16_CAPABILITY
    )


def resolved_dtype(wanted: ComputeDtype, device: torch.device) -> torch.dtype:
    """The dtype of matrix products on a device. Raises ValueError for one that it lacks."""
    if device.type != "cuda" or wanted not in ("auto", "bfloat16"):
        dtype: torch.dtype = getattr(torch, "float32" if wanted == "auto" else wanted)
        return dtype
    reason = lacks_bfloat16(device)
    if reason is None:
        return torch.bfloat16
    if wanted == "bfloat16":
        raise ValueError(
            f"compute_dtype bfloat16: {device} has {reason}; set auto, float16 or float32"
        )
    _logger.info(
        "%s has %s: computing in float32; compute_dtype float16 is faster and less exact",
        device,
        reason,
    )
    return torch.float32


def autocast(dtype: torch.dtype, device: torch.device) -> torch.autocast:
    """The context for calls of the network; on a CPU, layers use their weights' dtype instead."""
    return torch.autocast(
        device.type, dtype, enabled=dtype != torch.float32 and device.type != "cpu"
    )


def compute_in(model: Sam2, dtype: torch.dtype, device: torch.device) -> None:
    """Set up a frozen network for this dtype; call it within ``autocast``.

    A CUDA device changes two settings of the process. float32 turns TF32 off in cuDNN: PyTorch's
    convolutions would otherwise round their operands to 10 bits. And see ``avoid_plans``.
    """
    avoid_plans(device)
    if device.type == "cuda" and dtype == torch.float32:
        torch.backends.cudnn.allow_tf32 = False
    if device.type != "cpu":
        if dtype == torch.bfloat16:
            encode_throughout(model)
        store_as_computed(model, dtype)
        return
    for part in model.image_encoder.trunk.coarse_products():
        store_as_computed(part, dtype)


def avoid_plans(device: torch.device) -> None:
    """Turn cuDNN's attention off for the process, which PyTorch prefers on recent CUDA devices.

    It builds a plan for every new shape, in some 30 ms of the host: a click or a training step with
    another number of objects would wait for it. Code that repeats its shapes may still ask for it.
    """
    if device.type == "cuda":
        torch.backends.cuda.enable_cudnn_sdp(enabled=False)


def encode_throughout(model: Sam2) -> None:
    """Compute all of the image encoder in its trunk's narrow dtype, with a pyramid in bfloat16."""
    encoder = model.image_encoder
    encoder.store_throughout(encoder.trunk.narrow_dtype, torch.bfloat16)
    for after in model.sam_mask_decoder.fine_projections():
        after.to(encoder.trunk.narrow_dtype)


def store_as_computed(network: nn.Module, dtype: torch.dtype) -> None:
    """Store weights in the dtype of their products; results are bit-identical.

    Autocast would round frozen weights in every call: it caches only trained ones. Layers that are
    stored in another dtype than float32 already keep it.
    """
    for name, module in network.named_modules():
        if _IN_FLOAT32 in name:
            continue
        is_product = isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d))
        if is_product and module.weight.dtype == torch.float32:
            module.to(dtype)
