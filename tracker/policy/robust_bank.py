"""What every object remembers under the robust policy, in slots that are made once.

Beside what somebody pointed at there are anchors, which the policy keeps for long, and recent
frames chosen by what was seen on them rather than by their age. Which frame lies where, and what
the choice needs to know, is on the host; reading and writing never wait for the device.

Dimensions: K slots, N objects of a batch, F spatial memories, P pointers, R recent columns,
L grid tokens, c memory width, C hidden width.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tracker.config import ModelConfig
from tracker.memory.bank import EMPTY, LARGEST_POINTER_AGE, MemoryBank, SlotCopy
from tracker.memory.frame_columns import (
    BoolArray,
    in_order,
    newest,
    packed,
    place_for,
)
from tracker.memory.places import IntArray, MemoryPlaces
from tracker.memory.records import Before, Facts, RobustSlotCopy, Selection
from tracker.policy.motion import COORDINATES, NUMBERS

AREAS_KEPT = 10
# What the host knows of an object: whether its motion is known; for how many frames in a row it has
# been hidden; when it was tracked last; when a frame of it last became an anchor; whether no frame
# was remembered since it was hidden; the shares of the picture it covered recently, newest first.
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
    """Bound per object: the base's, and ``anchors`` spatial memories more (7 MiB at 1024²).

    Policy: the oldest recent frame is overwritten; there is one more than are read, so that a frame
    just tracked can be corrected with what was known before it. A full set of anchors loses its
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
        self._know_nothing(slot)
        return slot

    def copy(self, slot: int) -> RobustSlotCopy:
        """What a slot holds now."""
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
        """Let a slot hold again what it held when it was copied."""
        super().restore(slot, copy)
        assert isinstance(copy, RobustSlotCopy)
        self.facts_K[slot] = copy.facts
        self.motion_K45[slot] = copy.motion_45

    def know(self, slot: int, before: Before | None) -> None:
        """Let what is known of an object be what was known then; nothing, if it was not there."""
        if before is None:
            self._know_nothing(slot)
        else:
            self.facts_K[slot] = before.facts
            self.motion_K45[slot] = before.motion_45

    def known(self, slot: int) -> Before:
        """What is known of an object now, apart from the bank."""
        return Before(self.facts_K[slot].copy(), self.motion_K45[slot].clone())

    def _know_nothing(self, slot: int) -> None:
        self.facts_K[slot] = np.zeros((), FACTS)
        self.facts_K[slot]["anchored"] = EMPTY

    def anchor_frames(self, slot: int) -> tuple[int, ...]:
        """Frames the slot remembers as anchors, oldest first."""
        return in_order(self._spatial_frame[slot, self._conditioning : self._recent])

    def recent_frames(self, slot: int) -> tuple[int, ...]:
        """Frames the slot remembers as recent ones, oldest first."""
        return in_order(self._spatial_frame[slot, self._recent :])

    def pointer_frames(self, slot: int) -> tuple[int, ...]:
        """Frames whose pointers the slot remembers beside the conditioning ones, oldest first."""
        return in_order(self._pointer_frame[slot, self._conditioning :])

    def find(self, slot_N: IntArray, frame_N: IntArray) -> MemoryPlaces:
        """Where what lies before ``frame_N`` is.

        Conditioning memories and anchors have the temporal code of conditioning memories, the
        recent ones codes by their order: the newest that of the frame before, and so on.
        """
        now_N1 = frame_N[:, None]
        spatial_NF = self._spatial_frame[slot_N]
        long_NF = spatial_NF[:, : self._recent]
        recent_NR = spatial_NF[:, self._recent :]
        past_NR = (recent_NR != EMPTY) & (recent_NR < now_N1)
        order_NR, recent_valid_NR = newest(recent_NR, past_NR, self._window)
        rank_NR = np.broadcast_to(np.arange(order_NR.shape[1]), order_NR.shape)
        column_NF = np.concatenate(
            (
                np.broadcast_to(np.arange(self._recent), long_NF.shape),
                self._recent + order_NR,
            ),
            axis=1,
        )
        valid_NF = np.concatenate(
            ((long_NF != EMPTY) & (long_NF < now_N1), recent_valid_NR), axis=1
        )
        temporal_NF = np.concatenate((np.full_like(long_NF, self._window), rank_NR), axis=1)
        column_NF, temporal_NF, valid_NF = packed(column_NF, temporal_NF, valid_NF)

        pointer_NP = self._pointer_frame[slot_N]
        own_NP = pointer_NP[:, : self._conditioning]
        others_NP = pointer_NP[:, self._conditioning :]
        order_NP, others_valid_NP = newest(
            others_NP, (others_NP != EMPTY) & (others_NP < now_N1), self._pointer_window
        )
        pointer_column_NP = np.concatenate(
            (
                np.broadcast_to(np.arange(self._conditioning), own_NP.shape),
                self._conditioning + order_NP,
            ),
            axis=1,
        )
        pointer_valid_NP = np.concatenate(
            ((own_NP != EMPTY) & (own_NP < now_N1), others_valid_NP), axis=1
        )
        age_NP = np.minimum(
            now_N1 - np.take_along_axis(pointer_NP, pointer_column_NP, 1), LARGEST_POINTER_AGE
        )
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
        """Keep one frame of N different objects where it belongs, in place of what was there.

        An object whose frame is kept nowhere loses nothing but what it had of that very frame.
        """
        spatial_column, pointer_column = self._columns(slot_N, frame_N, selection)
        recent = selection.conditioning_N | selection.recent_N
        pointed = selection.conditioning_N | selection.pointer_N
        anchor_column = self._anchor_column(slot_N, frame_N)
        anchor = selection.anchor_N & ~selection.conditioning_N
        grids, pointers = self._grids.in_use, self._pointer_KPC
        # What needs memory of the device, which may have none left, comes before what is kept.
        writes = [
            (into, *self._chosen(into, slot_N, column, rows, what))
            for into, column, rows, what in (
                (grids, spatial_column, recent, spatial_NLc),
                (grids, anchor_column, anchor, spatial_NLc),
                (pointers, pointer_column, pointed, pointer_NC),
            )
            if rows.any()
        ]
        slot = self._tensor(slot_N)
        for into, place, chosen in writes:
            into[place] = chosen
        self.motion_K45[slot] = motion_N45
        self._drop(slot_N, frame_N, selection.conditioning_N)
        self._grids.wrote(slot_N[recent], spatial_column[recent])
        self._grids.wrote(slot_N[anchor], anchor_column[anchor])
        self._spatial_frame[slot_N[recent], spatial_column[recent]] = frame_N[recent]
        self._spatial_frame[slot_N[anchor], anchor_column[anchor]] = frame_N[anchor]
        self._pointer_frame[slot_N[pointed], pointer_column[pointed]] = frame_N[pointed]
        self.facts_K[slot_N] = facts_N

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
        if self._recent == self._conditioning:
            return np.full_like(slot_N, self._conditioning)
        anchor_NA = self._spatial_frame[slot_N, self._conditioning : self._recent]
        return self._conditioning + place_for(anchor_NA, frame_N)

    def _drop(self, slot_N: IntArray, frame_N: IntArray, conditioning_N: BoolArray) -> None:
        """Forget what was kept of this very frame, which is decided anew.

        As a conditioning memory it is forgotten only when another takes its place there.
        """
        for frames in (self._spatial_frame, self._pointer_frame):
            own = frames[slot_N]
            stale = own == frame_N[:, None]
            stale[:, : self._conditioning] &= conditioning_N[:, None]
            frames[slot_N] = np.where(stale, EMPTY, own)

    def _chosen(
        self, into: Tensor, slot_N: IntArray, column_N: IntArray, rows_N: BoolArray, what: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Where the chosen rows go, and what goes there."""
        chosen = what if rows_N.all() else what[self._tensor(np.flatnonzero(rows_N))]
        place = self._tensor(slot_N[rows_N]), self._tensor(column_N[rows_N])
        return place, chosen.to(into.dtype)
