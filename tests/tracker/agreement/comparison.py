"""Runs one script through our tracker and through the reference, and measures how far apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from tests.tracker.agreement.reference import ObjectOutput, Reference
from tests.tracker.agreement.scripts import Frame
from tracker import ModelConfig, Track, Tracker, TrackerOptions
from tracker.images import transforms
from tracker.model import Sam2
from tracker.options import EngineOptions
from tracker.policy.decision import MaskDecision

# Of the largest value of its kind; 5e-5 of mask logits whose largest is 10. Measured: two right
# implementations stay below 2.5e-6, the quietest planted mistake makes 2.2e-5.
RELATIVE_TOLERANCE = 5e-6
ABSENT = -1000.0
# An object score may be near zero, but the sum it is the result of has terms of this size.
SMALLEST_SCORE_SCALE = 10.0

Output = dict[int, ObjectOutput]


class ObservedTracker(Tracker):
    """Keeps what was decided last in full; tracks carry only part of it."""

    def __init__(
        self,
        model: Sam2,
        *,
        corrections_condition: bool = False,
        engine: EngineOptions | None = None,
    ) -> None:
        options = TrackerOptions(
            max_objects=8,
            memory_policy="sam2",
            corrections_condition=corrections_condition,
            return_logits=True,
            engine=engine or EngineOptions(),
        )
        super().__init__(model, torch.device("cpu"), options)
        self.decided: Output = {}
        self._decide = self._frame_step._decider.decide
        self._frame_step._decider.decide = self._observe  # type: ignore[method-assign]

    def _observe(self, rows: list[Any], *others: Any) -> MaskDecision:
        decision = self._decide(rows, *others)
        self.decided = {
            row.object_id: ObjectOutput(
                logits=decision.logits_N1hw[place, 0],
                predicted_iou=float(decision.predicted_iou_N[place]),
                object_score_logit=float(decision.object_score_logit_N[place]),
                pointer=decision.pointer_NC[place],
            )
            for place, row in enumerate(rows)
        }
        return decision


def run_ours(tracker: ObservedTracker, script: Iterable[Frame]) -> Iterator[Output]:
    """Our tracker through its public interface: one output per step and per correction."""
    session = tracker.open_session()
    for frame in script:
        (tracks,) = tracker.step([(session, frame.image, frame.prompts)])
        yield _checked(tracks, tracker.decided)
        for prompts in frame.corrections:
            tracks = tracker.correct(session, prompts).tracks
            yield _checked(tracks, tracker.decided)
        for object_id in frame.removals:
            session.remove(object_id)
    session.close()


def run_reference(
    config: ModelConfig,
    weights: dict[str, torch.Tensor],
    script: Sequence[Frame],
    *,
    corrections_condition: bool = False,
    kind: type[Reference] = Reference,
) -> Iterator[Output]:
    """The same script through `transformers`, on the pixels that our tracker sees."""
    reference = kind(config, weights, corrections_condition=corrections_condition)
    for frame in script:
        height, width = frame.image.shape[:2]
        pixels_1CHW = transforms.images_to_tensor(
            [frame.image], config.image_size, torch.device("cpu")
        )
        yield reference.step(pixels_1CHW, (height, width), frame.prompts)
        for prompts in frame.corrections:
            yield reference.correct(prompts)
        for object_id in frame.removals:
            reference.remove(object_id)


class Scale:
    """The largest values of a run; differences are measured in these."""

    def __init__(self, outputs: Iterable[Output]) -> None:
        every = [output for frame in outputs for output in frame.values()]
        shown = [output.logits for output in every if output.logits.max() > ABSENT]
        self.logit = max(float(logits.abs().max()) for logits in shown)
        self.pointer = max(float(output.pointer.abs().max()) for output in every)
        scores = [abs(output.object_score_logit) for output in every]
        self.score = max(SMALLEST_SCORE_SCALE, *scores)

    def difference(self, ours: Output, theirs: Output) -> float:
        """How far apart two outputs are at the worst place of the worst kind."""
        assert ours.keys() == theirs.keys()
        worst = 0.0
        for object_id, own in ours.items():
            other = theirs[object_id]
            worst = max(
                worst,
                float((own.logits - other.logits).abs().max()) / self.logit,
                float((own.pointer - other.pointer).abs().max()) / self.pointer,
                abs(own.object_score_logit - other.object_score_logit) / self.score,
                abs(own.predicted_iou - other.predicted_iou),
            )
        return worst


def _checked(tracks: Sequence[Track], decided: Output) -> Output:
    """What is published is what was decided."""
    assert {track.object_id for track in tracks} == decided.keys()
    for track in tracks:
        own = decided[track.object_id]
        assert track.logits is not None
        np.testing.assert_array_equal(track.logits, own.logits.numpy())
        assert track.predicted_iou == own.predicted_iou
        probability = torch.tensor(own.object_score_logit).sigmoid()
        assert abs(track.object_score - float(probability)) < 1e-6
    return decided
