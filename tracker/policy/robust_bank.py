"""The memory bank of the robust policy, in preallocated slots.

Besides conditioning memories a slot holds anchors, which the policy keeps for long, and the recent
frames that passed its rules. The host knows which frame is stored where and the facts the rules
need; reading and writing never wait for the device.

Dimensions: K slots, N objects of a batch, F spatial memories, P pointers, R recent columns,
L grid tokens, c memory width, C hidden width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tracker.config import ModelConfig
from tracker.memory.bank import EMPTY, LARGEST_POINTER_AGE, MemoryBank, SlotCopy
from tracker.memory.frame_columns import BoolArray, in_order, newest, packed, place_for
from tracker.memory.places import IntArray, MemoryPlaces, along_rows
from tracker.memory.records import Before, Facts, RobustSlotCopy, Selection
from tracker.memory.writing import Target
from tracker.policy.motion import COORDINATES, NUMBERS

AREAS_KEPT = 10
# Facts about an object, on the host: whether its motion is known; for how many frames in a row it
# has been hidden; when it was tracked last; when a frame of it last became an anchor; whether no
# frame was remembered since it was hidden; the shares of the picture it covered recently, newest
# first.
FACTS = np.dtype(
    [
        ("known", np.bool_),
        ("hidden", np.int64),
        ("time", np.int64),
        ("anchored", np.int64),
        ("returning", np.bool_),
        ("areas", np.float64, (AREAS_KEPT,)),
    ]
)


class RobustBank(MemoryBank):
    """Bound per object: the base's plus ``anchors`` spatial memories (7 MiB with 3 at 1024²).

    Policy: the oldest recent frame is overwritten; one more is kept than is read, so that the
    newest frame can be corrected with the memories from before it. A full set of anchors loses its
    oldest.
    """

    def __init__(
        self, config: ModelConfig, capacity: int, device: torch.device, anchors: int
    ) -> None:
        super().__init__(config, capacity, device, anchors)
        self._recent = self._conditioning + anchors
        self.facts_K = np.zeros(capacity, FACTS)
        self.motion_K45 = torch.zeros(capacity, COORDINATES, NUMBERS, device=device)

    def allocate(self) -> int:
        """Take an empty slot. Raises CapacityError when there is none."""
        slot = super().allocate()
        self._reset_state(slot)
        return slot

    def copy(self, slot: int) -> RobustSlotCopy:
        """A copy of everything a slot holds."""
        base = super().copy(slot)
        return RobustSlotCopy(
            base.spatial_frame_F,
            base.pointer_frame_P,
            base.spatial_FLc,
            base.pointer_PC,
            base.made_on_F,
            self.facts_K[slot].copy(),
            self.motion_K45[slot].clone(),
        )

    def restore(self, slot: int, copy: SlotCopy) -> None:
        """Restore a slot from its copy."""
        super().restore(slot, copy)
        assert isinstance(copy, RobustSlotCopy)
        self.facts_K[slot] = copy.facts
        self.motion_K45[slot] = copy.motion_45

    def restore_state(self, slot: int, before: Before | None) -> None:
        """Set an object's facts and motion to an earlier state; None: nothing is known of it."""
        if before is None:
            self._reset_state(slot)
        else:
            self.writer.run()
            self.facts_K[slot] = before.facts
            self.motion_K45[slot] = before.motion_45

    def state(self, slot: int) -> Before:
        """A copy of an object's facts and motion."""
        self.writer.run()
        return Before(self.facts_K[slot].copy(), self.motion_K45[slot].clone())

    def _reset_state(self, slot: int) -> None:
        self.facts_K[slot] = np.zeros((), FACTS)
        self.facts_K[slot]["anchored"] = EMPTY

    def anchor_frames(self, slot: int) -> tuple[int, ...]:
        """The anchors' frames, oldest first."""
        return in_order(self._spatial_frame[slot, self._conditioning : self._recent])

    def recent_frames(self, slot: int) -> tuple[int, ...]:
        """The frames of recent memories, oldest first."""
        return in_order(self._spatial_frame[slot, self._recent :])

    def pointer_frames(self, slot: int) -> tuple[int, ...]:
        """The frames of pointers other than the conditioning ones, oldest first."""
        return in_order(self._pointer_frame[slot, self._conditioning :])

    def find(self, slot_N: IntArray, frame_N: IntArray) -> MemoryPlaces:
        """The places of the memories before ``frame_N``.

        Conditioning memories and anchors have the temporal code of conditioning memories. Recent
        ones have codes by their order: the newest has that of the previous frame, and so on.
        """
        now_N1 = frame_N[:, None]
        recent, window = self._recent, self._window
        column_NF, valid_NF = _columns(self._spatial_frame[slot_N], now_N1, recent, window)
        temporal_NF = np.empty_like(column_NF)
        temporal_NF[:, :recent] = window
        temporal_NF[:, recent:] = np.arange(column_NF.shape[1] - recent)
        column_NF, temporal_NF, valid_NF = packed(column_NF, temporal_NF, valid_NF)

        pointer_NP = self._pointer_frame[slot_N]
        pointer_column_NP, pointer_valid_NP = _columns(
            pointer_NP, now_N1, self._conditioning, self._pointer_window
        )
        age_NP = np.minimum(now_N1 - along_rows(pointer_NP, pointer_column_NP), LARGEST_POINTER_AGE)
        pointer_column_NP, age_NP, pointer_valid_NP = packed(
            pointer_column_NP, age_NP, pointer_valid_NP
        )
        return MemoryPlaces(
            slot_N, column_NF, temporal_NF, valid_NF, pointer_column_NP, age_NP, pointer_valid_NP
        )

    def remember(
        self,
        slot_N: IntArray,
        frame_N: IntArray,
        selection: Selection,
        spatial_NLc: Tensor,
        pointer_NC: Tensor,
        motion_N45: Tensor,
        facts_N: Facts,
    ) -> None:
        """Write one frame of N different objects where ``selection`` says, replacing older ones.

        An object whose frame is not written only loses its memories of that same frame.
        """
        spatial_column, pointer_column = self._columns(slot_N, frame_N, selection)
        recent = selection.conditioning_N | selection.recent_N
        pointed = selection.conditioning_N | selection.pointer_N
        anchor_column = self._anchor_column(slot_N, frame_N)
        anchor = selection.anchor_N & ~selection.conditioning_N
        moved = Target(np.zeros_like(slot_N), np.ones_like(recent))
        targets = [Target(spatial_column, recent), Target(pointer_column, pointed), moved]
        if self._has_anchors:
            targets.append(Target(anchor_column, anchor))
        self._write(slot_N, targets, [spatial_NLc, pointer_NC, motion_N45])
        self._drop(slot_N, frame_N, selection.conditioning_N)
        self._grids.wrote(slot_N[recent], spatial_column[recent])
        self._grids.wrote(slot_N[anchor], anchor_column[anchor])
        self._spatial_frame[slot_N[recent], spatial_column[recent]] = frame_N[recent]
        self._spatial_frame[slot_N[anchor], anchor_column[anchor]] = frame_N[anchor]
        self._pointer_frame[slot_N[pointed], pointer_column[pointed]] = frame_N[pointed]
        self.facts_K[slot_N] = facts_N

    @property
    def _has_anchors(self) -> bool:
        return self._recent > self._conditioning

    def _sinks(self) -> list[tuple[Tensor, int]]:
        sinks = [*super()._sinks(), (self.motion_K45[:, None], 2)]
        return [*sinks, (self._grids.in_use, 0)] if self._has_anchors else sinks

    def _columns(
        self, slot_N: IntArray, frame_N: IntArray, selection: Selection
    ) -> tuple[IntArray, IntArray]:
        recent_NR = self._spatial_frame[slot_N, self._recent :]
        spatial = self._recent + place_for(recent_NR, frame_N)
        others_NP = self._pointer_frame[slot_N, self._conditioning :]
        pointer = self._conditioning + place_for(others_NP, frame_N)
        for row in np.flatnonzero(selection.conditioning_N):  # prompts are rare
            column = self._conditioning_column(int(slot_N[row]), int(frame_N[row]))
            spatial[row] = pointer[row] = column
        return spatial, pointer

    def _anchor_column(self, slot_N: IntArray, frame_N: IntArray) -> IntArray:
        if not self._has_anchors:
            return np.full_like(slot_N, self._conditioning)
        anchor_NA = self._spatial_frame[slot_N, self._conditioning : self._recent]
        return self._conditioning + place_for(anchor_NA, frame_N)

    def _drop(self, slot_N: IntArray, frame_N: IntArray, conditioning_N: BoolArray) -> None:
        """Forget what was stored of this same frame, which is decided anew.

        A conditioning memory of it is forgotten only when another replaces it.
        """
        for frames in (self._spatial_frame, self._pointer_frame):
            own = frames[slot_N]
            stale = own == frame_N[:, None]
            stale[:, : self._conditioning] &= conditioning_N[:, None]
            frames[slot_N] = np.where(stale, EMPTY, own)


def _columns(
    frame_NW: IntArray, now_N1: IntArray, kept: int, most: int
) -> tuple[IntArray, BoolArray]:
    """The first ``kept`` columns and up to ``most`` newest of the others, and which are real."""
    past_NW = (frame_NW != EMPTY) & (frame_NW < now_N1)
    order_NV, real_NV = newest(frame_NW[:, kept:], past_NW[:, kept:], most)
    column_NU = np.empty((len(frame_NW), kept + order_NV.shape[1]), np.int64)
    column_NU[:, :kept] = np.arange(kept)
    column_NU[:, kept:] = kept + order_NV
    return column_NU, np.concatenate((past_NW[:, :kept], real_NV), axis=1)
