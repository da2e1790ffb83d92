"""Follows the objects of a clip with a tracker and scores every frame.

As in the DAVIS toolkit's semi-supervised protocol, the first frame (it was given) and the last
one are not scored; J and F are averaged over an object's frames, then over all objects of all
clips.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tracker.evaluation.clips import ClipFrame, EvaluationClip
from tracker.evaluation.measures import boundary_f, jaccard
from tracker.evaluation.prompts import PromptKind, first_frame_prompt
from tracker.types import MaskArray, Prompt, Track

# Out of sight is who shows less than this share of what was seen on the first frame, for at
# least so many frames.
OUT_OF_SIGHT_SHARE = 0.02
SHORTEST_GAP_FRAMES = 3


class EvaluatedSession(Protocol):
    """What is needed of a session."""

    def close(self) -> None:
        """Let go of everything."""


class EvaluatedTracker(Protocol):
    """What is needed of a tracker; ``tracker.Tracker`` is one."""

    def open_session(self) -> Any:
        """A new stream; only handed back to ``step``, and closed."""

    def step(
        self, batch: Sequence[tuple[Any, npt.NDArray[np.uint8], Sequence[Prompt]]]
    ) -> list[list[Track]]:
        """Track one frame of every stream given."""


@dataclass(frozen=True, slots=True)
class ObjectScore:
    """Mean scores of one object in one clip, 0..1.

    ``returned`` is the mean of J and F over the frames on which the object was seen again
    after it had been out of sight altogether; None if that did not happen.
    """

    clip: str
    category: str
    object_id: int
    jaccard: float
    boundary_f: float
    returned: float | None

    @property
    def mean(self) -> float:
        """J&F, the mean of the two."""
        return (self.jaccard + self.boundary_f) / 2


@dataclass(frozen=True, slots=True)
class ClipScore:
    """The scores of one clip and what a step of the tracker took (median, first one left out)."""

    name: str
    category: str
    objects: tuple[ObjectScore, ...]
    seconds_per_frame: float


FrameObserver = Callable[[EvaluationClip, int, ClipFrame, dict[int, MaskArray]], None]


def evaluate_suite(
    tracker: EvaluatedTracker,
    clips: Iterable[EvaluationClip],
    prompt: PromptKind = "mask",
    on_frame: FrameObserver | None = None,
) -> list[ClipScore]:
    """Score every clip; ``on_frame(clip, index, frame, masks)`` is called after every step."""
    return [evaluate_clip(tracker, clip, prompt, on_frame) for clip in clips]


def evaluate_clip(
    tracker: EvaluatedTracker,
    clip: EvaluationClip,
    prompt: PromptKind = "mask",
    on_frame: FrameObserver | None = None,
) -> ClipScore:
    """Prompt all objects on the first frame, track to the end, score."""
    series = {object_id: _Series() for object_id in clip.object_ids}
    durations_s: list[float] = []
    session = tracker.open_session()
    try:
        for index, frame in enumerate(clip.open()):
            prompts = (
                [
                    first_frame_prompt(object_id, frame.truth[object_id], prompt)
                    for object_id in clip.object_ids
                ]
                if index == 0
                else []
            )
            begun = time.perf_counter()
            (tracks,) = tracker.step([(session, frame.image, prompts)])
            durations_s.append(time.perf_counter() - begun)
            masks = _masks(tracks, clip.object_ids, frame)
            for object_id, scores in series.items():
                scores.add(masks[object_id], frame.truth[object_id])
            if on_frame is not None:
                on_frame(clip, index, frame, masks)
    finally:
        session.close()
    return ClipScore(
        name=clip.name,
        category=clip.category,
        objects=tuple(scores.object_score(clip, object_id) for object_id, scores in series.items()),
        seconds_per_frame=float(np.median(durations_s[1:] or durations_s)),
    )


def _masks(
    tracks: Sequence[Track], object_ids: tuple[int, ...], frame: ClipFrame
) -> dict[int, MaskArray]:
    """The tracker's mask of every object, empty for one it gave no track for."""
    masks = {track.object_id: track.mask for track in tracks}
    nothing = np.zeros(frame.image.shape[:2], dtype=np.bool_)
    return {object_id: masks.get(object_id, nothing) for object_id in object_ids}


class _Series:
    """Scores of one object, frame by frame."""

    def __init__(self) -> None:
        self._jaccard: list[float] = []
        self._boundary_f: list[float] = []
        self._areas: list[int] = []

    def add(self, mask: MaskArray, truth: MaskArray) -> None:
        self._jaccard.append(jaccard(mask, truth))
        self._boundary_f.append(boundary_f(mask, truth))
        self._areas.append(int(np.count_nonzero(truth)))

    def object_score(self, clip: EvaluationClip, object_id: int) -> ObjectScore:
        if len(self._areas) < 3:
            raise ValueError(
                f"{clip.name}: {len(self._areas)} frames; at least 3 are needed, because the "
                "first and the last one are not scored"
            )
        scored = slice(1, -1)
        both = (np.array(self._jaccard) + np.array(self._boundary_f)) / 2
        areas = np.array(self._areas)
        back = seen_again(areas > OUT_OF_SIGHT_SHARE * areas[0])[scored]
        return ObjectScore(
            clip=clip.name,
            category=clip.category,
            object_id=object_id,
            jaccard=float(np.mean(self._jaccard[scored])),
            boundary_f=float(np.mean(self._boundary_f[scored])),
            returned=float(both[scored][back].mean()) if back.any() else None,
        )


def seen_again(seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Of the frames on which an object is seen, those after a gap of some length."""
    result = np.zeros_like(seen)
    gap, returned = 0, False
    for index, here in enumerate(seen):
        returned |= bool(here) and gap >= SHORTEST_GAP_FRAMES
        gap = 0 if here else gap + 1
        result[index] = here and returned
    return result
