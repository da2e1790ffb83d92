"""What every object remembers under the robust policy, in slots that are made once.

Beside what somebody pointed at there are anchors, which the policy keeps for long, and recent
frames chosen by what was seen on them rather than by their age. Which frame lies where, and what
the choice needs to know, is on the host; reading and writing never wait for the device.

Dimensions: K slots, N objects of a batch, F spatial memories, P pointers, R recent columns,
L grid tokens, c memory width, C hidden width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from tracker.config import ModelConfig
from tracker.memory.bank import (
    EMPTY,
    MemoryBank,
    SlotCopy,
)
from tracker.memory.frame_columns import (
    BoolArray,
    in_order,
    newest,
    packed,
    place_for,
)
from tracker.memory.places import (
    IntArray,
    Places,
)
from tracker.memory.records import (
    Before,
    Facts,
    RobustSlotCopy,
    Selection,
)
from tracker.policy.motion import COORDINATES, NUMBERS
from tracker.policy.options import RobustOptions

AREAS_KEPT = 10
# What the host knows of an object: whether its motion is known; for how many frames it has been
# seen, or not, in a row; when it was tracked last; when a frame of it was made an anchor last;
# how many frames of it were remembered; whether none was since it was out of sight; the shares of
# the picture it covered lately, newest first.
# Of one path among several: its score, on how many frames in a row it has agreed with the one that
# leads, and when it began.
FACTS = np.dtype(
    [
        ("known", np.bool_),
        ("seen", np.int64),
        ("hidden", np.int64),
        ("time", np.int64),
        ("anchored", np.int64),
        ("remembered", np.int64),
        ("returning", np.bool_),
        ("areas", np.float64, (AREAS_KEPT,)),
        ("score", np.float64),
        ("agreed", np.int64),
        ("begun", np.int64),
    ]
)


class RobustBank(MemoryBank):
    """Bound per object: the base's, and ``anchors`` spatial memories more (7 MiB at 1024²).

    Policy: of the recent frames, one that was not to be kept goes as soon as two newer ones have
    come, so that a frame just tracked can be corrected with what was known before it; then the
    oldest. A full set of anchors loses its oldest. ``spare`` slots beside the objects' are for
    second paths; who finds none does without.
    """

    def __init__(
        self, config: ModelConfig, capacity: int, device: torch.device, options: RobustOptions
    ) -> None:
        self.spare = options.hypothesis_rows if options.hypotheses > 1 else 0
        super().__init__(config, capacity + self.spare, device, options.anchors)
        self.capacity = capacity
        self._branches = 0
        self._recent_memories = min(options.recent_memories, config.recent_memories)
        self._oldest_pointer = options.largest_pointer_age
        self._recent = self._conditioning + options.anchors
        slots, columns = self._spatial_frame.shape
        self._kept = np.zeros((slots, columns - self._recent), np.bool_)
        self.facts_K = np.zeros(slots, FACTS)
        self.motion_K45 = torch.zeros(slots, COORDINATES, NUMBERS, device=device)

    @property
    def most_rows(self) -> int:
        """Rows of a step at most: every object, and every second path."""
        return self.capacity + self.spare

    @property
    def free_slots(self) -> int:
        """Objects that still fit; second paths take nothing from them."""
        return len(self._free) - self.spare_slots

    @property
    def spare_slots(self) -> int:
        """Second paths that still fit."""
        return self.spare - self._branches

    def branch(self, slot: int) -> int:
        """Take a spare slot that holds what ``slot`` does; there has to be one."""
        new = self._free[-1]
        self.restore(new, self.copy(slot))
        self._grids.repeat(slot, new)
        self._free.pop()
        self._branches += 1
        return new

    def prune(self, slots: Sequence[int]) -> None:
        """Give the slots of paths back; their objects go on."""
        self._free += slots
        self._branches -= len(slots)

    def release(self, *slots: int) -> None:
        """Give the slots of all of an object's paths back."""
        super().release(*slots)
        self._branches -= len(slots) - 1

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
            self._kept[slot].copy(),
            self.facts_K[slot].copy(),
            self.motion_K45[slot].clone(),
        )

    def restore(self, slot: int, copy: SlotCopy) -> None:
        """Let a slot hold again what it held when it was copied."""
        super().restore(slot, copy)
        assert isinstance(copy, RobustSlotCopy)
        self._kept[slot] = copy.kept_R
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

    def find(self, slot_N: IntArray, frame_N: IntArray) -> Places:
        """Where what lies before ``frame_N`` is.

        Conditioning memories and anchors have the temporal code of conditioning memories, the
        recent ones codes by their order: the newest that of the frame before, and so on.
        """
        now_N1 = frame_N[:, None]
        spatial_NF = self._spatial_frame[slot_N]
        long_NF = spatial_NF[:, : self._recent]
        recent_NR = spatial_NF[:, self._recent :]
        past_NR = (recent_NR != EMPTY) & (recent_NR < now_N1)
        newest_NR = past_NR & (
            recent_NR == np.where(past_NR, recent_NR, EMPTY).max(axis=1, keepdims=True)
        )
        order_NR, recent_valid_NR = newest(
            recent_NR, past_NR & (self._kept[slot_N] | newest_NR), self._recent_memories
        )
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
            now_N1 - np.take_along_axis(pointer_NP, pointer_column_NP, 1), self._oldest_pointer
        )
        pointer_column_NP, age_NP, pointer_valid_NP = packed(
            pointer_column_NP, age_NP, pointer_valid_NP
        )
        return Places(
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
        among = recent & ~selection.conditioning_N
        self._kept[slot_N[among], spatial_column[among] - self._recent] = selection.kept_N[among]
        self.facts_K[slot_N] = facts_N

    def _columns(
        self, slot_N: IntArray, frame_N: IntArray, selection: Selection
    ) -> tuple[IntArray, IntArray]:
        recent_NR = self._spatial_frame[slot_N, self._recent :]
        newest_NR = recent_NR == recent_NR.max(axis=1, keepdims=True)
        keep_NR = self._kept[slot_N] | newest_NR
        spatial = self._recent + place_for(recent_NR, frame_N, keep_NR)
        others_NP = self._pointer_frame[slot_N, self._conditioning :]
        pointer = self._conditioning + place_for(others_NP, frame_N, np.zeros_like(others_NP, bool))
        for row in np.flatnonzero(selection.conditioning_N):  # prompts are rare
            column = self._conditioning_column(int(slot_N[row]), int(frame_N[row]))
            spatial[row] = pointer[row] = column
        return spatial, pointer

    def _anchor_column(self, slot_N: IntArray, frame_N: IntArray) -> IntArray:
        if self._recent == self._conditioning:
            return np.full_like(slot_N, self._conditioning)
        anchor_NA = self._spatial_frame[slot_N, self._conditioning : self._recent]
        return self._conditioning + place_for(anchor_NA, frame_N, np.zeros_like(anchor_NA, bool))

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
