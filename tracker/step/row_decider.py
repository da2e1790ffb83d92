"""Decides the rows of a batch together: memory attention, mask decoder, choice of a mask.

Dimensions: B images, N objects, K points, S image size, h w mask grid.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tracker.engine.engine import Engine
from tracker.host_arrays import on_device, sent
from tracker.memory.bank import MemoryBank
from tracker.model import DecoderOutput, ImageFeatures, Sam2
from tracker.policy.decision import MaskDecision, decide, decide_mask_prompt, in_order
from tracker.policy.positive_points import with_positive_points
from tracker.policy.prediction import Prediction
from tracker.policy.robust import RobustPolicy
from tracker.sessions.row import Row, images_of, places_of

# Previous logits fed back with a correction are clamped to this, as in training.
PREVIOUS_LOGIT_LIMIT = 32.0


class RowDecider:
    """Runs rows through memory attention and mask decoder; changes no state."""

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
        self, rows: list[Row], features: ImageFeatures, prediction: Prediction | None = None
    ) -> MaskDecision:
        """Decide rows, decoding those of one kind together; the result is in the order given.

        ``prediction`` of the robust policy for the rows; needed where any is tracked.
        """
        groups: dict[tuple[str, int], list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            groups[self._kind(row)].append(place)
        parts = [
            self._decide_kind(
                kind,
                [rows[place] for place in group],
                features,
                None if prediction is None else prediction.of(group),
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
        """The group of a row: its kind and its number of points.

        Points cannot be padded: a padding token is attended to like any other and would change
        the result. Tracked rows, the steady state, form one group.
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
        self,
        kind: str,
        rows: list[Row],
        features: ImageFeatures,
        prediction: Prediction | None,
    ) -> MaskDecision:
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
                tracked = self._decide_tracked(output, prediction)
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
        decision = decide(model, self._engine.decode(conditioned, own, prompt), ambiguous, True)
        both_N = (labels == 1).any(axis=1) & (labels == 0).any(axis=1)
        if self._policy is None or not both_N.any():
            return decision
        parts = [
            self._with_positive_points(
                alone,
                conditioned[row : row + 1],
                ImageFeatures(*(level[row : row + 1] for level in own)),
                points[row],
                labels[row],
                None if previous is None else previous[row : row + 1],
            )
            if both_N[row]
            else alone
            for row, alone in enumerate(decision.rows())
        ]
        return MaskDecision(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def _with_positive_points(
        self,
        decision: MaskDecision,
        conditioned_1CHW: Tensor,
        own: ImageFeatures,
        points_K2: npt.NDArray[np.float32],
        labels_K: npt.NDArray[np.int64],
        previous_11hw: Tensor | None,
    ) -> MaskDecision:
        """A row's decision, or that of its positive points alone where it lost one of them."""
        positive = labels_K > 0
        prompt = self._model.encode_prompts(
            on_device(points_K2[None, positive], self._device),
            on_device(labels_K[None, positive], self._device),
            previous_11hw,
        )
        output = self._engine.decode(conditioned_1CHW, own, prompt)
        positive_only = decide(self._model, output, bool(positive.sum() <= 1), True)
        shares_K2 = points_K2 / np.float32(self._model.config.image_size)
        return with_positive_points(
            decision,
            positive_only,
            on_device(shares_K2, self._device),
            on_device(labels_K, self._device),
        )

    def _decide_tracked(self, output: DecoderOutput, prediction: Prediction | None) -> MaskDecision:
        if self._policy is None:
            return decide(self._model, output, True, False)
        assert prediction is not None, "a tracked row without a prediction"
        choice = self._policy.choose(prediction, output)
        alone_iou_N = self._policy.alone(output, choice)
        return decide(self._model, output, True, False, choice, alone_iou_N)

    def _decide_masks(self, rows: list[Row], own: ImageFeatures) -> MaskDecision:
        model = self._model
        masks_1SS = [row.prompt.mask_1SS for row in rows if row.prompt is not None]
        mask_N1SS = sent(
            torch.stack([mask for mask in masks_1SS if mask is not None]), self._device
        )
        nothing = torch.zeros(len(rows), 1, 2, device=self._device)
        labels = torch.full((len(rows), 1), -1, device=self._device)
        prompt = model.encode_prompts(nothing, labels, model.mask_downsample(mask_N1SS))
        # Raw features, without a memory and without ``no_mem_embed``.
        output = self._engine.decode(own.stride16_BCHW, own, prompt)
        return decide_mask_prompt(model, output, mask_N1SS)
