"""Trackers with known scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tracker.evaluation.clips import EvaluationClip
from tracker.scenes.frame import mask_box
from tracker.types import MaskArray, Prompt, Track, TrackState


class FakeSession:
    def __init__(self) -> None:
        self.closed = False
        self.first: dict[int, MaskArray] = {}

    def close(self) -> None:
        self.closed = True


class FakeTracker:
    """Keeps its sessions; ``answer`` gives the masks of a frame."""

    def __init__(self) -> None:
        self.sessions: list[FakeSession] = []
        self.prompts: list[Prompt] = []

    def open_session(self) -> FakeSession:
        self.sessions.append(FakeSession())
        return self.sessions[-1]

    def step(
        self, batch: Sequence[tuple[FakeSession, np.ndarray, Sequence[Prompt]]]
    ) -> list[list[Track]]:
        ((session, image, prompts),) = batch
        self.prompts += prompts
        for prompt in prompts:
            if prompt.mask is not None:
                session.first[prompt.object_id] = prompt.mask
        found = self.answer(session, image)
        return [[track(object_id, mask) for object_id, mask in found.items()]]

    def answer(self, session: FakeSession, image: np.ndarray) -> dict[int, MaskArray]:
        raise NotImplementedError


class PerfectTracker(FakeTracker):
    """Returns the ground truth of its clips."""

    def __init__(self, clips: Sequence[EvaluationClip]) -> None:
        super().__init__()
        self._frames: Iterator[dict[int, MaskArray]] = (
            frame.truth for clip in clips for frame in clip.open()
        )

    def answer(self, session: FakeSession, image: np.ndarray) -> dict[int, MaskArray]:
        return next(self._frames)


class FirstMaskTracker(FakeTracker):
    """Repeats the masks of the first frame."""

    def answer(self, session: FakeSession, image: np.ndarray) -> dict[int, MaskArray]:
        return session.first


class BlindTracker(FakeTracker):
    """Finds nothing."""

    def answer(self, session: FakeSession, image: np.ndarray) -> dict[int, MaskArray]:
        return {}


def track(object_id: int, mask: MaskArray) -> Track:
    x0, y0, x1, y1 = box = mask_box(mask)
    return Track(
        object_id=object_id,
        state=TrackState.VISIBLE if mask.any() else TrackState.OCCLUDED,
        box_xyxy=box,
        crop=mask[y0:y1, x0:x1],
        area=int(mask.sum()),
        predicted_iou=1.0,
        object_score=1.0,
        frame_height=mask.shape[0],
        frame_width=mask.shape[1],
    )
