"""Computes what follows the decision about rows: memories, motion, and the numbers of their tracks.

Dimensions: B images, N objects, R rows of one call, F conditioning memories, h w mask grid,
L grid tokens, C hidden width, c memory width, X numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tracker.engine.calls import Array, rows_of
from tracker.engine.engine import Engine
from tracker.masks.masks import fill_holes
from tracker.memory.bank import MemoryBank
from tracker.memory.places import IntArray
from tracker.policy.decision import MaskDecision
from tracker.policy.prediction import Prediction, observe
from tracker.policy.robust_bank import RobustBank


class Finished(NamedTuple):
    """N decided rows.

    ``logits_N1hw``: with holes filled. ``numbers_NX``, float64: predicted IoU, object score,
    whether it is positive, pointer similarity (NaN without conditioning pointers), predicted box
    (in shares of the frame; NaN without one), and the columns of ``Evidence``. ``before_N45`` and
    ``after_N45``: the robust policy's motion. ``places_N3``: see ``packing.bit_places``; None where
    masks are not packed at once.
    """

    logits_N1hw: Tensor
    numbers_NX: Tensor
    places_N3: Tensor | None = None
    spatial_NLc: Tensor | None = None
    pointer_NC: Tensor | None = None
    before_N45: Tensor | None = None
    after_N45: Tensor | None = None

    @property
    def memories(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """What the bank is to write: spatial memories, pointers and motions."""
        return self.spatial_NLc, self.pointer_NC, self.after_N45


class Finisher:
    """Finishes decisions; changes no state. ``fill_hole_area``: see ``TrackerOptions``."""

    def __init__(self, engine: Engine, bank: MemoryBank, fill_hole_area: int) -> None:
        self._engine = engine
        self._bank = bank
        self._fill_hole_area = fill_hole_area

    def finish(
        self,
        decision: MaskDecision,
        stride16_BCHW: Tensor,
        scene_B3: Tensor | None,
        prediction: Prediction | None,
        slot_N: IntArray,
        image_N: IntArray,
        places_N3: IntArray | None,
    ) -> Finished:
        """Encode the memories of N objects, and collect what their tracks need."""
        tables = (self._engine.begin_memory(stride16_BCHW), scene_B3, *decision)
        return self._called("finish", tables, prediction, slot_N, image_N, places_N3)

    def preview(
        self,
        decision: MaskDecision,
        scene_B3: Tensor | None,
        prediction: Prediction | None,
        slot_N: IntArray,
        image_N: IntArray,
        places_N3: IntArray | None,
        *,
        is_held: bool = True,
    ) -> Finished:
        """The same without memories; ``is_held``: whether the slots are the objects' own."""
        tables = None, scene_B3, *decision
        return self._called("preview", tables, prediction, slot_N, image_N, places_N3, is_held)

    def _called(
        self,
        name: str,
        tables: Sequence[Tensor | None],
        prediction: Prediction | None,
        slot_N: IntArray,
        image_N: IntArray,
        places_N3: IntArray | None,
        is_held: bool = True,
    ) -> Finished:
        count = len(slot_N)
        if not is_held and prediction is not None:
            prediction = prediction._replace(known_N=np.zeros(count, np.bool_))
        motion: Sequence[Array | None] = [None] * 4 if prediction is None else prediction.of_motion
        calls = self._engine.over_objects(
            name,
            self._finish,
            np.arange(count),
            (
                self._engine.all_rows(count),
                image_N,
                slot_N,
                self._bank.conditions(slot_N) & is_held,
                places_N3,
                *motion,
            ),
            tables,
        )
        logits_N1hw, numbers_NX, *others = self._engine.calls(name, count, calls)
        places = None if places_N3 is None else others.pop(0)
        return Finished(logits_N1hw, numbers_NX, places, *others)

    # Called by the engine: a function of tensors only, which never makes the host wait.

    def _finish(
        self,
        row_R: Tensor | None,
        image_R: Tensor,
        slot_R: Tensor,
        conditions_RF: Tensor,
        places_R3: Tensor | None,
        gap_R: Tensor | None,
        known_R: Tensor | None,
        hidden_R: Tensor | None,
        fresh_R: Tensor | None,
        projected_BCHW: Tensor | None,
        scene_B3: Tensor | None,
        *decision_N: Tensor,
    ) -> tuple[Tensor, ...]:
        decision = MaskDecision(*(rows_of(column, row_R) for column in decision_N))
        logits = fill_holes(decision.logits_N1hw, self._fill_hole_area)
        score = decision.object_score_logit_N
        numbers = [
            decision.predicted_iou_N,
            score.sigmoid(),
            score > 0,
            self._bank.pointer_similarity(slot_R, conditions_RF, decision.pointer_NC),
        ]
        box_R4 = torch.full((len(score), 4), torch.nan, device=score.device)
        beside: list[Tensor] = []
        motions: list[Tensor] = []
        if gap_R is not None:
            assert isinstance(self._bank, RobustBank)
            assert known_R is not None
            assert hidden_R is not None
            assert fresh_R is not None
            before = self._bank.motion_K45[slot_R]
            scene = torch.zeros_like(box_R4[:, :3]) if scene_B3 is None else scene_B3[image_R]
            observed = observe(before, gap_R, known_R, hidden_R, fresh_R, scene, decision)
            box_R4 = observed.predicted_box_N4
            beside, motions = [observed.evidence_NE], [before, observed.state_N45]
        columns = torch.stack([each.double() for each in numbers], dim=1)
        numbers_RX = torch.cat((columns, box_R4.double(), *beside), dim=1)
        results = [logits, numbers_RX] if places_R3 is None else [logits, numbers_RX, places_R3]
        if projected_BCHW is None:
            return tuple(results)
        # As in Meta's predictor, a prompted frame is remembered as published, with holes filled;
        # a tracked one as decided.
        prompted = decision.prompted_N.view(-1, 1, 1, 1)
        remembered = torch.where(prompted, logits, decision.logits_N1hw)
        spatial = self._engine.finish_memory(
            rows_of(projected_BCHW, image_R), remembered, decision.prompted_N, decision.visible_N
        )
        return *results, spatial, decision.pointer_NC, *motions
