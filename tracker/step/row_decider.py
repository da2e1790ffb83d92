"""Rows of a batch, each one object on one frame, and how they are decided together.

Dimensions: B images, N objects, K points, S image size, h w mask grid.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tracker.engine.engine import Engine
from tracker.host_arrays import on_device, sent
from tracker.memory.bank import MemoryBank
from tracker.model import DecoderOutput, ImageFeatures, Sam2
from tracker.policy.decision import (
    Decision,
    decide,
    decide_mask_prompt,
    in_order,
)
from tracker.policy.outlook import Outlook
from tracker.policy.robust import RobustPolicy
from tracker.sessions.history import TrackedFrame
from tracker.sessions.prompts import PreparedPrompt
from tracker.sessions.session import Session

# Previous logits fed back with a correction are held within this, as the network was trained.
PREVIOUS_LOGIT_LIMIT = 32.0


@dataclass(frozen=True, slots=True)
class Row:
    """One object on one frame of this batch.

    ``corrects``: the prompt adds to what was tracked on this frame; with ``tracked_first`` that
    is found on the way, because the frame is new. ``slot``: of which of the object's paths, if not
    of the one that is shown.
    """

    session: Session
    object_id: int
    image: int
    frame: TrackedFrame
    prompt: PreparedPrompt | None = None
    corrects: bool = False
    tracked_first: bool = False
    slot: int | None = None

    @property
    def slot_in_bank(self) -> int:
        """Where the path lies that this row follows."""
        return self.session.slot_of(self.object_id) if self.slot is None else self.slot

    @property
    def is_new(self) -> bool:
        """Whether the frame is tracked for the first time."""
        return self.frame.index == self.session.frames_seen

    @property
    def place(self) -> tuple[int, int]:
        """The path's slot in the bank and the frame's time."""
        return self.slot_in_bank, self.frame.time


class RowDecider:
    """Takes rows through memory attention and mask decoder; changes nothing that is kept."""

    def __init__(
        self,
        engine: Engine,
        bank: MemoryBank,
        policy: RobustPolicy | None,
        device: torch.device,
    ) -> None:
        self._engine = engine
        self._policy = policy
        self._bank = bank
        self._device = device

    def decide(
        self, rows: list[Row], features: ImageFeatures, outlook: Outlook | None = None
    ) -> Decision:
        """Rows of one kind go through the decoder together; the result is in the order given.

        ``outlook``: what the robust policy expects of the rows; needed where any is tracked.
        """
        groups: dict[tuple[str, int], list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            groups[self._kind(row)].append(place)
        parts = [
            self._decide_kind(
                kind,
                [rows[place] for place in group],
                features,
                None if outlook is None else outlook.of(group),
            )
            for (kind, _), group in groups.items()
        ]
        if len(parts) == 1:
            return parts[0]
        order = np.argsort(np.concatenate(list(groups.values())))
        order_N = on_device(order, self._device)
        return in_order(parts, order_N)

    @property
    def _model(self) -> Sam2:
        """The network for the image size in use."""
        return self._engine.model

    def _kind(self, row: Row) -> tuple[str, int]:
        """Rows of one kind and point count go through the decoder together.

        Points cannot be padded: a padding token is attended like any other and would change the
        result. Tracked rows, the steady state, are always one group.
        """
        if row.prompt is None:
            return "tracked", 0
        if row.prompt.mask_1SS is not None:
            return "mask", 0
        count = len(row.prompt.labels_K)
        if not row.corrects:
            return "clicked", count
        if row.tracked_first:
            return "tracked first", count
        first = row.object_id in row.frame.unconditioned
        return ("refined" if first else "corrected"), count

    def _decide_kind(
        self, kind: str, rows: list[Row], features: ImageFeatures, outlook: Outlook | None
    ) -> Decision:
        model = self._model
        image_N = images_of(rows)
        previous = None
        if kind in ("tracked", "corrected", "tracked first"):
            slot_N, frame_N = places_of(rows)
            conditioned = self._engine.attend(
                features.stride16_BCHW, self._bank, slot_N, frame_N, image_N
            )
            if kind != "corrected":
                output = self._engine.decode_unprompted(conditioned, features, image_N)
                tracked = self._decide_tracked(rows, output, outlook)
                if kind == "tracked":
                    return tracked
                previous = tracked.logits_N1hw
        own = features.select(on_device(image_N, self._device))
        if kind == "mask":
            return self._decide_masks(rows, own)
        if kind in ("clicked", "refined"):
            conditioned = model.attend(own.stride16_BCHW, None)
        points = np.stack([row.prompt.points_K2 for row in rows if row.prompt])
        labels = np.stack([row.prompt.labels_K for row in rows if row.prompt])
        if kind in ("refined", "corrected"):
            previous = torch.stack([row.frame.logits[row.object_id] for row in rows])
        if previous is not None:
            previous = previous.clamp(-PREVIOUS_LOGIT_LIMIT, PREVIOUS_LOGIT_LIMIT)
        prompt = model.encode_prompts(
            on_device(points, self._device),
            on_device(labels, self._device),
            previous,
        )
        ambiguous = labels.shape[1] <= 1
        return decide(model, self._engine.decode(conditioned, own, prompt), ambiguous, True)

    def _decide_tracked(
        self, rows: list[Row], output: DecoderOutput, outlook: Outlook | None
    ) -> Decision:
        if self._policy is None:
            return decide(self._model, output, True, False)
        assert outlook is not None, "a tracked row without an outlook"
        several = len({row.image for row in rows}) < len(rows)
        choice = self._policy.choose(outlook, output, several)
        alone_iou_N = self._policy.alone(output, choice)
        rival = self._policy.rival(self._model, output, choice)
        return decide(self._model, output, True, False, choice, alone_iou_N, rival)

    def _decide_masks(self, rows: list[Row], own: ImageFeatures) -> Decision:
        model = self._model
        masks_1SS = [row.prompt.mask_1SS for row in rows if row.prompt is not None]
        mask_N1SS = sent(
            torch.stack([mask for mask in masks_1SS if mask is not None]), self._device
        )
        nothing = torch.zeros(len(rows), 1, 2, device=self._device)
        labels = torch.full((len(rows), 1), -1, device=self._device)
        prompt = model.encode_prompts(nothing, labels, model.mask_downsample(mask_N1SS))
        # Raw features: neither a memory nor the constant that stands for none.
        output = self._engine.decode(own.stride16_BCHW, own, prompt)
        return decide_mask_prompt(model, output, mask_N1SS)


def places_of(rows: list[Row]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The bank slot of each row and the time of its frame."""
    slot_N, time_N = np.array([row.place for row in rows], dtype=np.int64).T.copy()
    return slot_N, time_N


def images_of(rows: list[Row]) -> npt.NDArray[np.int64]:
    """Which image of the batch each row is of."""
    return np.array([row.image for row in rows], dtype=np.int64)
