"""Tracks the objects of a clip and scores every frame.

J and F are averaged over an object's frames, then over all objects of all clips.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tracker.evaluation.box_measures import box_overlap
from tracker.evaluation.clips import ClipFrame, EvaluationClip
from tracker.evaluation.identity import IdentityRecord
from tracker.evaluation.measures import jaccard
from tracker.evaluation.prompts import PromptKind, box_prompt, first_frame_prompt
from tracker.evaluation.real_time import Pace
from tracker.evaluation.series import FEWEST_FRAMES, ObjectScore, ObjectSeries, TrackedMask
from tracker.types import MaskArray, Prompt, Track


class NothingToScoreError(ValueError):
    """A clip has too few annotations; others of its dataset may be scored."""


class EvaluatedSession(Protocol):
    """The part of a session that the runner uses."""

    def close(self) -> None:
        """Release its memory."""


class EvaluatedTracker(Protocol):
    """The part of a tracker that the runner uses; ``tracker.Tracker`` has it."""

    def open_session(self) -> Any:
        """Open a session for one stream."""

    def step(
        self, batch: Sequence[tuple[Any, npt.NDArray[np.uint8], Sequence[Prompt]]]
    ) -> list[list[Track]]:
        """Track one frame of every given stream."""


@dataclass(frozen=True, slots=True)
class ClipScore:
    """The scores of one clip and the median time of a step, without the first.

    ``tracked_frames`` is below ``frames`` if frames were dropped as on a live camera. ``still``: of
    a photograph.
    """

    name: str
    category: str
    objects: tuple[ObjectScore, ...]
    seconds_per_frame: float
    frames: int = 0
    tracked_frames: int = 0
    identity: IdentityRecord = field(default_factory=IdentityRecord)
    still: bool = False


FrameObserver = Callable[[EvaluationClip, int, ClipFrame, dict[int, MaskArray]], None]


def evaluate_suite(
    tracker: EvaluatedTracker,
    clips: Iterable[EvaluationClip],
    prompt: PromptKind = "mask",
    on_frame: FrameObserver | None = None,
    pace: Pace | None = None,
) -> list[ClipScore]:
    """Score every clip; ``on_frame(clip, index, frame, masks)`` is called after every frame."""
    return [evaluate_clip(tracker, clip, prompt, on_frame, pace) for clip in clips]


def evaluate_clip(
    tracker: EvaluatedTracker,
    clip: EvaluationClip,
    prompt: PromptKind = "mask",
    on_frame: FrameObserver | None = None,
    pace: Pace | None = None,
) -> ClipScore:
    """Prompt each object on the first frame that shows it, track to the end, score.

    With a ``pace``, frames that arrive while a step runs are not tracked; the previous result is
    scored for them. An object that appears too late to be scored is left out. Raises
    NothingToScoreError if that leaves none.
    """
    series = {object_id: ObjectSeries(clip, object_id) for object_id in clip.object_ids}
    identity = IdentityRecord()
    begun: set[int] = set()
    durations_s: list[float] = []
    found: dict[int, TrackedMask] = {}
    gap = to_lose = index = 0
    session = tracker.open_session()
    try:
        if pace is not None:
            pace.begin(clip.rate_hz)
        for index, frame in enumerate(clip.open()):
            gap += frame.missed
            if to_lose:
                to_lose -= 1
                gap += 1
            else:
                again = _clicks_again(clip, index, frame, begun)
                prompts = [*_prompts(clip, frame, begun, prompt), *again]
                _tell_of(session, gap)
                gap = 0
                started = time.perf_counter()
                (tracks,) = tracker.step([(session, frame.image, prompts)])
                durations_s.append(time.perf_counter() - started)
                if pace is not None and len(durations_s) > 1:
                    to_lose = pace.frames_lost(durations_s[-1])
                begun.update(each.object_id for each in prompts)
                found = _found(tracks, clip.object_ids, frame)
            for object_id in begun:
                series[object_id].add(found[object_id], frame)
            _note_identities(identity, begun, found, frame)
            if on_frame is not None:
                on_frame(clip, index, frame, {key: each.mask for key, each in found.items()})
    finally:
        session.close()
    return ClipScore(
        name=clip.name,
        category=clip.category,
        objects=_scores(clip, series.values()),
        seconds_per_frame=float(np.median(durations_s[1:] or durations_s)),
        frames=index + 1,
        tracked_frames=len(durations_s),
        identity=identity,
        still=clip.still,
    )


def _scores(clip: EvaluationClip, series: Iterable[ObjectSeries]) -> tuple[ObjectScore, ...]:
    by_length = sorted(each.annotated for each in series)
    fewest = 1 if clip.still else FEWEST_FRAMES
    if not by_length or by_length[-1] < fewest:
        raise NothingToScoreError(
            f"{clip.name}: the truth of an object is known on {by_length[-1] if by_length else 0} "
            f"frames; at least {fewest} are needed, because the prompt's and the last one "
            "are not scored (of sets for a challenge only the first mask is public: take another "
            "split)"
        )
    return tuple(each.score() for each in series if each.annotated >= fewest)


def _prompts(
    clip: EvaluationClip, frame: ClipFrame, begun: set[int], kind: PromptKind
) -> list[Prompt]:
    """Prompts of the objects that appear for the first time."""
    result = []
    for object_id in clip.object_ids:
        if object_id in begun:
            continue
        box = frame.boxes.get(object_id)
        if frame.prompt_boxes is not None:
            if object_id in frame.prompt_boxes:
                begins = frame.prompt_boxes[object_id]
                result.append(box_prompt(object_id, begins, as_point=kind == "point"))
        elif object_id in frame.truth and frame.truth[object_id].any():
            # With its mask given, nothing of a photograph would be left to find.
            asked = "point" if clip.still and kind == "mask" else kind
            result.append(first_frame_prompt(object_id, frame.truth[object_id], asked))
        elif box is not None:
            result.append(box_prompt(object_id, box, as_point=kind == "point"))
    return result


def _clicks_again(
    clip: EvaluationClip, index: int, frame: ClipFrame, begun: set[int]
) -> list[Prompt]:
    """Clicks into every tracked, visible object, if the clip has them on this frame."""
    if not clip.clicked_every or index % clip.clicked_every:
        return []
    return [
        first_frame_prompt(object_id, frame.truth[object_id], "point")
        for object_id in sorted(begun)
        if object_id in frame.truth and frame.truth[object_id].any()
    ]


def _tell_of(session: EvaluatedSession, gap: int) -> None:
    """Report dropped frames to a session that accepts it."""
    note_gap: Callable[[int], None] | None = getattr(session, "note_gap", None)
    if gap and note_gap is not None:
        note_gap(gap)


def _found(
    tracks: Sequence[Track], object_ids: tuple[int, ...], frame: ClipFrame
) -> dict[int, TrackedMask]:
    """The tracker's mask of every object, empty for an object without a track."""
    nothing = TrackedMask(np.zeros(frame.image.shape[:2], dtype=np.bool_))
    tracked = {
        track.object_id: TrackedMask(track.mask, track.predicted_iou, track.calibrated_iou)
        for track in tracks
    }
    return {object_id: tracked.get(object_id, nothing) for object_id in object_ids}


def _note_identities(
    record: IdentityRecord, begun: set[int], found: dict[int, TrackedMask], frame: ClipFrame
) -> None:
    """Record the overlaps of all visible and all tracked objects, if the frame is annotated."""
    masks = {key: frame.truth[key] for key in begun if key in frame.truth}
    boxes = {key: frame.boxes[key] for key in begun - masks.keys() if key in frame.boxes}
    if not masks and not boxes:
        return
    true_masks = {key: mask for key, mask in masks.items() if mask.any()}
    true_boxes = {key: box for key, box in boxes.items() if box is not None}
    # An object that is not annotated here may be anywhere, so its mask is no false positive.
    shown = [key for key in sorted(masks.keys() | boxes.keys()) if found[key].mask.any()]
    similarity = np.zeros((len(true_masks) + len(true_boxes), len(shown)))
    for column, key in enumerate(shown):
        for row, truth in enumerate(true_masks.values()):
            similarity[row, column] = jaccard(found[key].mask, truth)
        box = found[key].box
        for row, true_box in enumerate(true_boxes.values(), len(true_masks)):
            similarity[row, column] = 0.0 if box is None else box_overlap(box, true_box)
    record.add([*true_masks, *true_boxes], shown, similarity)
