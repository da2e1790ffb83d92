"""The memories of every object of every stream, in preallocated slots.

One slot holds an object's conditioning memories (frames with a prompt; the first is kept for
ever), its recent spatial memories and its recent object pointers. The host knows which frame is
stored where, so reading and writing never wait for the device.

Dimensions: K slots, N objects of a batch, F spatial memories, P pointers, L tokens of each,
C hidden width, c memory width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from tracker.config import ModelConfig
from tracker.errors import CapacityError
from tracker.host_arrays import on_device
from tracker.memory.grids import MemoryGrids
from tracker.memory.places import (
    ConditioningMemories,
    IntArray,
    MemoryPlaces,
    Recollection,
    along_rows,
)
from tracker.memory.shapes import MemoryShape, MemoryShapes
from tracker.memory.writing import Target, Writer, written

EMPTY = -(1 << 62)  # no session reaches this frame number, and no age overflows with it

# A conditioning pointer grows older without bound, far beyond any training clip. Its age is capped
# at this value: the network was never trained with the sine codes of greater ages.
LARGEST_POINTER_AGE = 256


@dataclass(frozen=True, slots=True)
class SlotCopy:
    """A copy of one slot: frame numbers, memories, pointers, and the grid of each memory."""

    spatial_frame_F: IntArray
    pointer_frame_P: IntArray
    spatial_FLc: Tensor
    pointer_PC: Tensor
    made_on_F: npt.NDArray[np.int8]


class MemoryBank:
    """Preallocated memories of up to ``capacity`` objects; nothing grows afterwards.

    Bound per object: ``max_conditioning_memories`` + ``num_maskmem`` spatial memories, and
    ``max_conditioning_memories`` + ``max_object_pointers`` pointers. One spatial memory more than
    the window of 6 allows the newest frame to be corrected without losing the oldest; correcting
    an earlier frame lacks those that were overwritten since. At 1024² in bfloat16 that is 5.5 MiB;
    smaller image sizes add to it. EdgeTAM's 512 tokens a memory are 0.71 MiB for all image sizes
    together. Policy: a recent memory is overwritten when its frame leaves the window; a full set of
    conditioning memories loses its oldest but the first.
    """

    def __init__(
        self, config: ModelConfig, capacity: int, device: torch.device, more_memories: int = 0
    ) -> None:
        self.capacity = capacity
        self.device = device
        # May be replaced, by one that writes together with the next step's calls.
        self.writer = Writer(device)
        self._window = config.recent_memories
        self._pointer_window = config.recent_pointers
        self._conditioning = config.max_conditioning_memories
        self._ring = self._window + 1
        self._pointer_ring = self._pointer_window + 1
        dtype: torch.dtype = getattr(torch, config.memory_dtype)
        frames = self._conditioning + more_memories + self._ring
        pointers = self._conditioning + self._pointer_ring
        # The tokens of a perceiver are the same at every image size.
        self._on_a_grid = config.perceiver is None
        self._grids = MemoryGrids(
            (capacity, frames, config.memory_tokens, config.memory_dim),
            config.grid_size,
            dtype,
            device,
        )
        self._pointer_KPC = torch.zeros(capacity, pointers, config.hidden_dim, device=device)
        self._spatial_frame = np.full((capacity, frames), EMPTY, dtype=np.int64)
        self._pointer_frame = np.full((capacity, pointers), EMPTY, dtype=np.int64)
        self._free = list(range(capacity - 1, -1, -1))

    @property
    def bytes(self) -> int:
        """Device memory allocated, in use or not."""
        return self._grids.bytes + self._pointer_KPC.nbytes

    @property
    def shapes(self) -> MemoryShapes:
        """The shapes that an object's memories can have, for batches of fixed shapes."""
        others = self._spatial_frame.shape[1] - self._conditioning - self._ring
        return MemoryShapes.of(self._window, self._pointer_window, self._conditioning, others)

    @property
    def free_slots(self) -> int:
        """Number of free slots."""
        return len(self._free)

    def add_image_sizes(self, image_sizes: Sequence[int]) -> None:
        """Allocate memories on the grids of these sizes too."""
        for image_size in image_sizes if self._on_a_grid else ():
            self._grids.add(image_size // 16)

    def use_image_size(self, image_size: int) -> None:
        """Switch to the grid of another image size, one of those that were added."""
        if not self._on_a_grid:
            return
        self.writer.run()
        filled_KF = self._spatial_frame != EMPTY
        filled_KF[self._free] = False
        self._grids.use(image_size // 16, filled_KF)

    def allocate(self) -> int:
        """Take an empty slot. Raises CapacityError when there is none."""
        if not self.free_slots:
            raise CapacityError(
                f"all {self.capacity} object slots are taken; remove an object or raise max_objects"
            )
        slot = self._free.pop()
        self._spatial_frame[slot] = EMPTY
        self._pointer_frame[slot] = EMPTY
        return slot

    def release(self, slot: int) -> None:
        """Give a slot back; other objects are not touched."""
        self._free.append(slot)

    def is_conditioning(self, slot: int, frame: int) -> bool:
        """Whether the slot remembers that frame as a conditioning frame."""
        return frame in self._spatial_frame[slot, : self._conditioning]

    def conditioning_frames(self, slot: int) -> tuple[int, ...]:
        """Frames the slot remembers as conditioning frames, oldest first."""
        frames = self._spatial_frame[slot, : self._conditioning]
        return tuple(sorted(int(frame) for frame in frames if frame != EMPTY))

    def forget_recent_after(self, slot: int, frame: int) -> None:
        """Drop the recent memories of frames after ``frame``, to be computed anew.

        Conditioning memories stay: they come from prompts, not from tracking.
        """
        recent = self._spatial_frame[slot, self._conditioning :]
        recent[recent > frame] = EMPTY
        recent = self._pointer_frame[slot, self._conditioning :]
        recent[recent > frame] = EMPTY

    def copy(self, slot: int) -> SlotCopy:
        """A copy of everything a slot holds."""
        self.writer.run()
        return SlotCopy(
            self._spatial_frame[slot].copy(),
            self._pointer_frame[slot].copy(),
            self._grids.in_use[slot].clone(),
            self._pointer_KPC[slot].clone(),
            self._grids.made_on(slot),
        )

    def restore(self, slot: int, copy: SlotCopy) -> None:
        """Restore a slot from its copy."""
        self.writer.run()
        self._grids.in_use[slot] = copy.spatial_FLc
        self._pointer_KPC[slot] = copy.pointer_PC
        self._grids.restore_made_on(slot, copy.made_on_F)
        self._spatial_frame[slot] = copy.spatial_frame_F
        self._pointer_frame[slot] = copy.pointer_frame_P

    def conditioning(self, slot: int) -> ConditioningMemories:
        """The conditioning memories of a slot, oldest first, on the host.

        Always on the grid of the largest image size.
        """
        self.writer.run()
        frames = self._spatial_frame[slot, : self._conditioning]
        column_F = np.argsort(frames, kind="stable")[np.count_nonzero(frames == EMPTY) :]
        column = self._tensor(column_F)
        return ConditioningMemories(
            frames[column_F],
            self._grids.exported(slot, column_F).float().cpu().numpy(),
            self._pointer_KPC[slot, column].cpu().numpy(),
        )

    def condition(self, slot: int, memories: ConditioningMemories) -> None:
        """Fill an empty slot with conditioning memories on the grid of the largest image size."""
        self.writer.run()
        count = len(memories.frame_F)
        self._grids.import_memories(slot, self._tensor(memories.spatial_FLc))
        self._pointer_KPC[slot, :count] = self._tensor(memories.pointer_FC)
        self._spatial_frame[slot, :count] = memories.frame_F
        self._pointer_frame[slot, :count] = memories.frame_F

    def conditions(self, slot_N: IntArray) -> npt.NDArray[np.bool_]:
        """Which conditioning pointers each slot has, (N, F)."""
        own_NF: npt.NDArray[np.bool_] = self._pointer_frame[slot_N, : self._conditioning] != EMPTY
        return own_NF

    def pointer_similarity(self, slot_N: Tensor, own_NF: Tensor, pointer_NC: Tensor) -> Tensor:
        """Cosine similarity of each pointer to the closest conditioning pointer of its slot, (N,).

        ``own_NF``: see ``conditions``. NaN for a slot without conditioning pointers.
        """
        kept_NFC = self._pointer_KPC[slot_N, : self._conditioning]
        cosine_NF = cosine_similarity(kept_NFC, pointer_NC.float()[:, None], dim=2)
        best_N = cosine_NF.masked_fill(~own_NF, -math.inf).amax(dim=1)
        return best_N.masked_fill(best_N == -math.inf, math.nan)

    def conditioning_shapes(self, count: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The shapes of ``count`` conditioning memories and of their pointers.

        Raises ValueError for more, or fewer, than a slot can hold.
        """
        if not 1 <= count <= self._conditioning:
            raise ValueError(f"an object has 1 to {self._conditioning} of them, not {count}")
        return (count, *self._grids.memory_shape), (count, self._pointer_KPC.shape[2])

    def read(self, slot_N: IntArray, frame_N: IntArray) -> Recollection:
        """Read the memories before ``frame_N``: all conditioning memories and both windows."""
        return self.fetch(self.find(slot_N, frame_N))

    def find(self, slot_N: IntArray, frame_N: IntArray) -> MemoryPlaces:
        """The places of the memories that ``read`` returns; computed on the host."""
        spatial = self._choose(self._spatial_frame, slot_N, frame_N, self._window)
        pointer = self._choose(self._pointer_frame, slot_N, frame_N, self._pointer_window)
        temporal_index = np.where(
            spatial.column_NF < self._conditioning, self._window, spatial.age_NF - 1
        )
        temporal_index[~spatial.valid_NF] = 0
        pointer_age = np.minimum(pointer.age_NF, LARGEST_POINTER_AGE)
        pointer_age[~pointer.valid_NF] = 0
        return MemoryPlaces(
            slot_N,
            spatial.column_NF,
            temporal_index,
            spatial.valid_NF,
            pointer.column_NF,
            pointer_age,
            pointer.valid_NF,
        )

    def blank(self, shape: MemoryShape, rows: int) -> MemoryPlaces:
        """Places of this shape that all refer to the first memory of the first slot."""
        spatial, pointer = (rows, shape.frames), (rows, shape.pointers)
        return MemoryPlaces(
            np.zeros(rows, np.int64),
            np.zeros(spatial, np.int64),
            np.zeros(spatial, np.int64),
            np.ones(spatial, np.bool_),
            np.zeros(pointer, np.int64),
            np.zeros(pointer, np.int64),
            np.ones(pointer, np.bool_),
        )

    def fetch(self, places: MemoryPlaces) -> Recollection:
        """Read the memories at these places."""
        self.writer.run()
        valid_NF, pointer_valid_NP = places.valid_NF, places.pointer_valid_NP
        spatial_NFLc, pointer_NPC = self.contents(
            *map(self._tensor, (places.slot_N, places.column_NF, places.pointer_column_NP))
        )
        return Recollection(
            spatial_NFLc,
            self._tensor(places.temporal_NF),
            pointer_NPC,
            self._tensor(places.age_NP),
            None if valid_NF.all() else self._tensor(valid_NF),
            None if pointer_valid_NP.all() else self._tensor(pointer_valid_NP),
        )

    def contents(
        self, slot_N: Tensor, column_NF: Tensor, pointer_column_NP: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The spatial memories (N, F, L, c) and pointers (N, P, C) in these columns."""
        slot_N1 = slot_N[:, None]
        return (
            self._grids.in_use[slot_N1, column_NF],
            self._pointer_KPC[slot_N1, pointer_column_NP],
        )

    def write(
        self,
        slot_N: IntArray,
        frame_N: IntArray,
        conditioning_N: npt.NDArray[np.bool_],
        spatial_NLc: Tensor,
        pointer_NC: Tensor,
    ) -> None:
        """Write one frame of N different objects, replacing their memories of that frame."""
        recent_column = self._conditioning + frame_N % self._ring
        recent_pointer_column = self._conditioning + frame_N % self._pointer_ring
        spatial_column, pointer_column = recent_column.copy(), recent_pointer_column.copy()
        for row in np.flatnonzero(conditioning_N):  # prompts are rare; tracked frames skip this
            column = self._conditioning_column(int(slot_N[row]), int(frame_N[row]))
            spatial_column[row] = pointer_column[row] = column
        everything = np.ones_like(conditioning_N)
        targets = Target(spatial_column, everything), Target(pointer_column, everything)
        self._write(slot_N, targets, [spatial_NLc, pointer_NC])
        # A frame is stored once: as a conditioning frame it leaves the windows.
        self._spatial_frame[slot_N, recent_column] = EMPTY
        self._pointer_frame[slot_N, recent_pointer_column] = EMPTY
        self._grids.wrote(slot_N, spatial_column)
        self._spatial_frame[slot_N, spatial_column] = frame_N
        self._pointer_frame[slot_N, pointer_column] = frame_N

    def rehearse(self, memories: Sequence[Tensor]) -> None:
        """Make the call of a ``write`` of these rows that writes what is there already."""
        nothing = np.zeros(len(memories[0]), np.int64)
        targets = [Target(nothing, nothing > 0)] * len(self._sinks())
        self._write(nothing, targets, memories)

    def _write(
        self, slot_N: IntArray, targets: Sequence[Target], memories: Sequence[Tensor]
    ) -> None:
        arrays = [array for target in targets for array in self.writer.arrays(slot_N, target)]
        self.writer(self._put, arrays, memories)

    def _sinks(self) -> list[tuple[Tensor, int]]:
        """What is written to, by slot and column, and which of the memories each takes."""
        return [(self._grids.in_use, 0), (self._pointer_KPC, 1)]

    def _put(self, *rows: Any) -> tuple[()]:
        """Write rows of memories, after ``Writer.arrays`` for each sink."""
        sinks = self._sinks()
        memories = rows[4 * len(sinks) :]
        # Allocate on the device, which may fail, before any state changes.
        values = [
            written(into, rows[4 * index : 4 * index + 4], memories[which])
            for index, (into, which) in enumerate(sinks)
        ]
        for (into, _), (place, value) in zip(sinks, values, strict=True):
            into[place] = value
        return ()

    def _conditioning_column(self, slot: int, frame: int) -> int:
        frames = self._spatial_frame[slot, : self._conditioning]
        same = np.flatnonzero(frames == frame)
        if same.size:
            return int(same[0])
        free = np.flatnonzero(frames == EMPTY)
        if free.size:
            return int(free[0])
        if self._conditioning == 1:
            return 0
        return int(np.argsort(frames)[1])

    def _choose(self, frames: IntArray, slot_N: IntArray, now_N: IntArray, window: int) -> _Choice:
        frame = frames[slot_N]
        age = now_N[:, None] - frame
        valid = (frame != EMPTY) & (age >= 1)
        valid[:, self._conditioning :] &= age[:, self._conditioning :] <= window
        longest = int(valid.sum(axis=1).max())
        column = np.argsort(~valid, axis=1, kind="stable")[:, :longest]
        return _Choice(column, along_rows(age, column), along_rows(valid, column))

    def _tensor(self, array: npt.NDArray[np.generic]) -> Tensor:
        return on_device(array, self.device)


class _Choice(NamedTuple):
    column_NF: IntArray
    age_NF: IntArray
    valid_NF: npt.NDArray[np.bool_]
