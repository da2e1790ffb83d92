"""The clips of consecutive steps, made in this process or ahead of time in others.

Clips travel as uint8 pictures and one map of objects, a twentieth of the floats and masks that a
step computes with. They are a pure function of their order and the run's seed, whoever makes them
and whenever: a run with other workers, or a resumed one, has the same clips.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from tracker.errors import TrackerError
from tracker.training.clip import ClipBatch
from tracker.training.data import ClipSource, step_generator
from tracker.training.recipe import Phase

# Orders given to each worker in advance: the bound of what is made and waits.
_AHEAD = 2
# Of the numbers of random streams of a step: those of clips, one for each rank.
_CLIPS = 128


class SupplyError(TrackerError):
    """A process that makes clips has ended."""


@dataclass(frozen=True, slots=True)
class Order:
    """The clips of one step: its phase, with its own image size, and the fraction of it over."""

    step: int
    phase: Phase
    over: float
    clips: int


@dataclass(frozen=True, slots=True)
class PackedClips:
    """Images (B, T, 3, S, S) and object numbers (B, T, S, S), uint8; 0 is background.

    ``objects``: how many each clip has. An object without a pixel is still one.
    """

    images_BT3SS: Tensor | npt.NDArray[np.uint8]
    owners_BTSS: Tensor | npt.NDArray[np.uint8]
    objects: int

    @staticmethod
    def of(batch: ClipBatch) -> PackedClips:
        """Pictures rounded to 8 bits, as cameras give them; masks of a clip must not overlap."""
        objects = batch.masks_BTKSS.shape[2]
        number = torch.arange(1, objects + 1, dtype=torch.uint8, device=batch.masks_BTKSS.device)
        owners = (batch.masks_BTKSS * number.view(-1, 1, 1)).amax(dim=2)
        images = (batch.images_BT3SS * 255).round().to(torch.uint8)
        return PackedClips(images, owners, objects)

    def between_processes(self) -> PackedClips:
        """As arrays: tensors would need room in shared memory, of which a container has little."""
        assert isinstance(self.images_BT3SS, Tensor)
        assert isinstance(self.owners_BTSS, Tensor)
        return PackedClips(self.images_BT3SS.numpy(), self.owners_BTSS.numpy(), self.objects)

    def unpacked(self, device: torch.device) -> ClipBatch:
        """The batch that a step computes with."""
        images = torch.as_tensor(self.images_BT3SS).to(device)
        owners = torch.as_tensor(self.owners_BTSS).to(device)
        number = torch.arange(1, self.objects + 1, dtype=torch.uint8, device=device)
        return ClipBatch(images.float() / 255, owners.unsqueeze(2) == number.view(-1, 1, 1))


class _Made(Dataset[Any]):
    """Orders to clips; in a worker process too."""

    def __init__(self, source: ClipSource, seed: int, rank: int, device: torch.device) -> None:
        self._source, self._seed, self._rank, self._device = source, seed, rank, device

    def __getitem__(self, order: Order) -> tuple[Order, PackedClips | Exception]:
        """The order and its clips, or what is wrong with the data: it is raised in the main process
        as it is, not as the traceback of a worker."""
        generator = step_generator(self._seed, order.step, _CLIPS + self._rank, self._device)
        phase = order.phase
        try:
            batch = self._source.clips(
                phase, phase.at(phase.motion, order.over), order.clips, generator
            )
        except (TrackerError, OSError, ValueError) as error:
            return order, error
        return order, PackedClips.of(batch)


class ClipSupply:
    """Gives the clips of one order after the other.

    ``workers`` processes make them, each at most ``_AHEAD`` orders ahead; 0: this one makes them
    when asked. ``made_on``: the source's device, the CPU where there are workers.
    """

    def __init__(
        self,
        source: ClipSource,
        orders: Iterator[Order],
        seed: int,
        rank: int,
        made_on: torch.device,
        workers: int,
    ) -> None:
        made = _Made(source, seed, rank, made_on)
        self._made: Iterator[tuple[Order, PackedClips | Exception]]
        if workers:
            self._made = iter(
                DataLoader(
                    made,
                    sampler=orders,
                    batch_size=None,
                    num_workers=workers,
                    prefetch_factor=_AHEAD,
                    collate_fn=_between_processes,
                    worker_init_fn=_leave_signals_to_the_trainer,
                    # The pictures are not copied: a worker reads the pages of this process.
                    multiprocessing_context="fork",
                    generator=torch.Generator(),
                )
            )
        else:
            self._made = (made[order] for order in orders)

    def take(self, device: torch.device) -> tuple[Order, ClipBatch]:
        """The next order and its clips. Raises what making them raised."""
        order, packed = next(self._made)
        if isinstance(packed, Exception):
            raise packed
        return order, packed.unpacked(device)

    def close(self) -> None:
        """End the workers."""
        self._made = iter(())


def _between_processes(made: Any) -> tuple[Order, PackedClips | Exception]:
    order, packed = made
    return order, packed if isinstance(packed, Exception) else packed.between_processes()


def _leave_signals_to_the_trainer(worker: int) -> None:
    """A signal for the whole group ends the run after its step; until then clips are needed."""
    del worker
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
