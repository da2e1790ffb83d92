"""Arrays of the host as tensors of the device, and back; the host waits for results only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# Every array of a transfer begins where any type may: 16 bytes.
_ALIGNMENT = 16


def on_device(array: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """The array on the device; the host does not wait for what runs there."""
    return sent(view_of(array), device)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on the device.

    From pinned memory, which PyTorch keeps and uses again when the copy is done: a copy from
    other memory is made by the host, after what the device was given before.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def on_host(tensors: Sequence[Tensor]) -> list[npt.NDArray[np.generic]]:
    """Tensors of one device as arrays, in one transfer; here the host waits for the device.

    Of a processor's own tensors these are views.
    """
    if all(tensor.device.type == "cpu" for tensor in tensors):
        return [tensor.numpy() for tensor in tensors]
    joined, begins = side_by_side(tensors)
    landed = torch.empty(joined.shape, dtype=torch.uint8, pin_memory=True)
    landed.copy_(joined, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(joined.device))
    arrived.synchronize()
    return apart(landed.numpy(), begins, tensors)


def side_by_side(tensors: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
    """The bytes of all tensors in one, each where it may begin, and these places."""
    pieces: list[Tensor] = []
    begins: list[int] = []
    size = 0
    for tensor in tensors:
        raw = tensor.contiguous().flatten().view(torch.uint8)
        begins.append(size)
        gap = -len(raw) % _ALIGNMENT
        pieces += [raw, raw.new_empty(gap)]
        size += len(raw) + gap
    return torch.cat(pieces), begins


def apart(
    raw: npt.NDArray[np.uint8], begins: Sequence[int], tensors: Sequence[Tensor]
) -> list[npt.NDArray[np.generic]]:
    """Arrays of the tensors' types and shapes again, as views of their bytes."""
    arrays: list[npt.NDArray[np.generic]] = []
    for begin, tensor in zip(begins, tensors, strict=True):
        dtype = np.dtype(str(tensor.dtype).removeprefix("torch."))
        own = raw[begin : begin + tensor.numel() * dtype.itemsize]
        arrays.append(own.view(dtype).reshape(tuple(tensor.shape)))
    return arrays


def view_of(array: npt.NDArray[np.generic]) -> Tensor:
    """A view of an array; a copy where PyTorch has none: read-only, or with negative strides."""
    if not array.flags.writeable or min(array.strides, default=0) < 0:
        array = array.copy()
    return torch.from_numpy(array)
