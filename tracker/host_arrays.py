"""Arrays of the host as tensors of the device, and back; the host waits for results only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

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
    other memory is made by the host, after what the device was given before. In one piece: what
    has gaps, as a decoder's planes do, would go through other memory all the same.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = torch.empty_like(tensor, pin_memory=True).copy_(tensor)
    return tensor.to(device, non_blocking=True)


class Transfer(Protocol):
    """Tensors on their way to the host."""

    def arrays(self) -> list[npt.NDArray[np.generic]]:
        """The tensors as arrays; here the host waits for the device. Views, until ``release``."""

    def release(self) -> None:
        """The arrays are not looked at any more."""


@dataclass(frozen=True, slots=True)
class Here:
    """Tensors of a processor: they are there, and nothing is copied."""

    tensors: Sequence[Tensor]

    def arrays(self) -> list[npt.NDArray[np.generic]]:
        """Views of the tensors."""
        return [tensor.numpy() for tensor in self.tensors]

    def release(self) -> None:
        """Nothing was borrowed."""


class Landing:
    """Pinned memory in which what is brought from a device lands, in one transfer each time.

    Bound: two buffers, each as large as the largest transfer that it ever took. They are used in
    turn: what one step found is read while the next one's is on its way. Policy: arrays that were
    not released when the turn of their buffer comes are copied out of it first.
    """

    def __init__(self, *, pinned: bool = True) -> None:
        """``pinned``: only where there is a CUDA device."""
        self._pinned = pinned
        self._buffers = [torch.empty(0, dtype=torch.uint8) for _ in range(2)]
        self._guests: list[_Landed | None] = [None, None]
        self._turn = 0

    @property
    def bytes(self) -> int:
        """Memory of both buffers."""
        return sum(buffer.nbytes for buffer in self._buffers)

    def begin(self, tensors: Sequence[Tensor]) -> Transfer:
        """Bring tensors of one device; the host does not wait."""
        joined, begins = side_by_side(tensors)
        turn = self._turn = 1 - self._turn
        guest = self._guests[turn]
        if guest is not None:
            guest.move_out()
        if self._buffers[turn].numel() < joined.numel():
            self._buffers[turn] = torch.empty(
                joined.numel(), dtype=torch.uint8, pin_memory=self._pinned
            )
        landed = self._buffers[turn][: joined.numel()]
        landed.copy_(joined, non_blocking=True)
        arrived = None
        if joined.is_cuda:
            arrived = torch.cuda.Event()
            arrived.record(torch.cuda.current_stream(joined.device))
        # What the arrays will be like, without the memory of what they come from.
        like = [torch.empty_like(tensor, device="meta") for tensor in tensors]
        guest = self._guests[turn] = _Landed(landed.numpy(), begins, like, arrived)
        return guest


class _Landed:
    """One transfer into a buffer that others use after it."""

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
        """The buffer is needed: keep the bytes elsewhere, if anybody may still read them."""
        if self._raw is not None:
            self._wait()
            self._raw = self._raw.copy()

    def _wait(self) -> None:
        if self._arrived is not None:
            self._arrived.synchronize()


def begin_transfer(tensors: Sequence[Tensor], landing: Landing | None) -> Transfer:
    """Bring tensors to the host; without a place to land they are there already."""
    return Here(tensors) if landing is None else landing.begin(tensors)


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
