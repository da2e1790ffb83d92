"""Transfers arrays between host and device; the host waits only when it reads results.

Images and results travel on streams of their own, beside what the device computes. Small arrays are
sent on the stream that reads them: events between two streams would cost more than their copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# Every array of a transfer is aligned for any type: 16 bytes.
_ALIGNMENT = 16


def on_device(array: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """The array on the device; the host does not wait."""
    return sent(view_of(array), device)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A host tensor on the device."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = pinned(tensor)
    return tensor.to(device, non_blocking=True)


def sent_beside(tensor: Tensor, device: torch.device) -> Tensor:
    """A large host tensor on the device, copied while it computes what was begun before."""
    if device.type != "cuda":
        return sent(tensor, device)
    copies, current = copy_stream(device, "up"), torch.cuda.current_stream(device)
    with torch.cuda.stream(copies):
        there = sent(tensor, device)
    current.wait_stream(copies)
    there.record_stream(current)
    return there


@cache
def copy_stream(
    device: torch.device,
    direction: Literal["up", "down"],  # noqa: ARG001
) -> torch.cuda.Stream:
    """The stream for copies to a CUDA device, or from it; each direction has an engine."""
    return torch.cuda.Stream(device)


def pinned(tensor: Tensor) -> Tensor:
    """A copy of a host tensor in pinned memory, which PyTorch caches.

    A copy to a device from pageable memory would make the host wait for all earlier work of the
    device. The pinned copy is contiguous: a tensor with gaps, such as a decoder's planes, would go
    through pageable memory all the same.
    """
    return torch.empty_like(tensor, pin_memory=True).copy_(tensor)


class Transfer(Protocol):
    """Tensors in transfer to the host."""

    def arrays(self) -> list[npt.NDArray[np.generic]]:
        """Wait for the device and return the tensors as arrays; views, until ``release``."""

    def release(self) -> None:
        """Declare that the arrays are no longer used."""


@dataclass(frozen=True, slots=True)
class HostTensors:
    """Tensors that are on the host already; nothing is copied."""

    tensors: Sequence[Tensor]

    def arrays(self) -> list[npt.NDArray[np.generic]]:
        """Views of the tensors."""
        return [tensor.numpy() for tensor in self.tensors]

    def release(self) -> None:
        """Do nothing: there is no buffer to free."""


class HostBuffers:
    """Two pinned host buffers for transfers from a device, one transfer at a time in each.

    Bound: each buffer is as large as its largest transfer so far. They alternate: the results of
    one step are read while those of the next are in transfer. Policy: arrays that are not released
    when their buffer is reused are copied out of it first.
    """

    def __init__(self, *, pinned: bool = True) -> None:
        """``pinned``: needs a CUDA device."""
        self._pinned = pinned
        self._buffers = [torch.empty(0, dtype=torch.uint8) for _ in range(2)]
        self._transfers: list[_BufferedTransfer | None] = [None, None]
        self._turn = 0

    @property
    def bytes(self) -> int:
        """Size of both buffers."""
        return sum(buffer.nbytes for buffer in self._buffers)

    def begin(self, tensors: Sequence[Tensor]) -> Transfer:
        """Start the transfer of tensors of one device; the host does not wait."""
        joined, begins = side_by_side(tensors)
        turn = self._turn = 1 - self._turn
        transfer = self._transfers[turn]
        if transfer is not None:
            transfer.move_out()
        if self._buffers[turn].numel() < joined.numel():
            self._buffers[turn] = torch.empty(
                joined.numel(), dtype=torch.uint8, pin_memory=self._pinned
            )
        own = self._buffers[turn][: joined.numel()]
        arrived = self._copied(own, joined)
        # Shapes and types of the arrays, without keeping the tensors' memory.
        like = [torch.empty_like(tensor, device="meta") for tensor in tensors]
        transfer = self._transfers[turn] = _BufferedTransfer(own.numpy(), begins, like, arrived)
        return transfer

    def _copied(self, into: Tensor, joined: Tensor) -> torch.cuda.Event | None:
        """Start the copy; when it is done, for a device."""
        if not joined.is_cuda:
            into.copy_(joined)
            return None
        copies, arrived = copy_stream(joined.device, "down"), torch.cuda.Event()
        copies.wait_stream(torch.cuda.current_stream(joined.device))
        with torch.cuda.stream(copies):
            into.copy_(joined, non_blocking=True)
        # Its memory is not used for anything else before the copy is done.
        joined.record_stream(copies)
        arrived.record(copies)
        return arrived


class _BufferedTransfer:
    """One transfer into a buffer that later transfers reuse."""

    def __init__(
        self,
        raw: npt.NDArray[np.uint8],
        begins: Sequence[int],
        like: Sequence[Tensor],
        arrived: torch.cuda.Event | None,
    ) -> None:
        self._raw: npt.NDArray[np.uint8] | None = raw
        self._begins = begins
        self._like = like
        self._arrived = arrived

    def arrays(self) -> list[npt.NDArray[np.generic]]:
        assert self._raw is not None, "arrays were read after they had been released"
        self._wait()
        return apart(self._raw, self._begins, self._like)

    def release(self) -> None:
        self._raw = None

    def move_out(self) -> None:
        """Copy the bytes out of the buffer, unless the arrays were released."""
        if self._raw is not None:
            self._wait()
            self._raw = self._raw.copy()

    def _wait(self) -> None:
        if self._arrived is not None:
            self._arrived.synchronize()


def begin_transfer(tensors: Sequence[Tensor], buffers: HostBuffers | None) -> Transfer:
    """Start a transfer to the host; without ``buffers`` the tensors are there already."""
    return HostTensors(tensors) if buffers is None else buffers.begin(tensors)


def side_by_side(tensors: Sequence[Tensor]) -> tuple[Tensor, list[int]]:
    """The bytes of all tensors in one, each aligned, and their offsets."""
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
    """Arrays of the tensors' types and shapes, as views of the joined bytes."""
    arrays: list[npt.NDArray[np.generic]] = []
    for begin, tensor in zip(begins, tensors, strict=True):
        dtype = np.dtype(str(tensor.dtype).removeprefix("torch."))
        own = raw[begin : begin + tensor.numel() * dtype.itemsize]
        arrays.append(own.view(dtype).reshape(tuple(tensor.shape)))
    return arrays


def view_of(array: npt.NDArray[np.generic]) -> Tensor:
    """A view of an array; a copy where PyTorch cannot view it: read-only or negative strides."""
    if not array.flags.writeable or min(array.strides, default=0) < 0:
        array = array.copy()
    return torch.from_numpy(array)
