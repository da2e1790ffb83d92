"""The objects of one stream as others see them: what they are called, and where they were last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from streamer.inference.box_smoothing import (
    BoxSmoother,
    BoxSmoothing,
    FloatBox,
)
from streamer.inference.prompts.request import PromptRequest
from streamer.types import ObjectResult, ObjectSnapshot, ObjectSummary
from tracker.types import Track


@dataclass(frozen=True, slots=True)
class _Newest:
    """The objects on the newest frame."""

    frame_index: int
    objects: tuple[ObjectResult, ...]


class ShownObjects:
    """Changed by the inference thread only. Bound: names, colours and boxes of live objects."""

    def __init__(self) -> None:
        self._labels: dict[int, str] = {}
        self._colours: dict[int, str] = {}
        self._box_smoother: BoxSmoother | None = None
        self._smooth_boxes: dict[int, FloatBox] = {}
        self._newest = _Newest(-1, ())  # replaced, never changed: other threads read it

    @property
    def newest(self) -> tuple[ObjectResult, ...]:
        """The objects on the newest frame."""
        return self._newest.objects

    def summaries(self) -> list[ObjectSummary]:
        """The objects as the newest frame had them. May be called from any thread."""
        newest = self._newest
        return [
            ObjectSummary(
                object_id=each.track.object_id,
                label=each.label,
                colour=each.colour,
                state=each.track.state,
                box_xyxy=each.track.box_xyxy,
                area=each.track.area,
                predicted_iou=each.track.predicted_iou,
                object_score=each.track.object_score,
                frame_index=newest.frame_index,
                calibrated_iou=each.track.calibrated_iou,
                expected_box_xyxy=None if each.track.area else each.track.predicted_box_xyxy,
            )
            for each in newest.objects
        ]

    # What they are called.

    def label(self, object_id: int) -> str | None:
        """An object's name."""
        return self._labels.get(object_id)

    def colour(self, object_id: int) -> str | None:
        """An object's colour, if it was given one."""
        return self._colours.get(object_id)

    def rename(self, object_id: int, label: str | None, colour: str | None) -> None:
        """Name or colour an object; None leaves what it has, "" takes it away."""
        for given, kept in ((label, self._labels), (colour, self._colours)):
            if given:
                kept[object_id] = given
            elif given is not None:
                kept.pop(object_id, None)
        self._show([each.track for each in self.newest])

    def name(self, request: PromptRequest) -> None:
        """Take in what a prompt that was applied calls its object."""
        if request.label is not None:
            self._labels[request.prompt.object_id] = request.label
        if request.colour is not None:
            self._colours[request.prompt.object_id] = request.colour

    def restore(self, snapshot: ObjectSnapshot) -> None:
        """Call an object what it was called in an earlier run."""
        if snapshot.label is not None:
            self._labels[snapshot.object_id] = snapshot.label
        if snapshot.colour is not None:
            self._colours[snapshot.object_id] = snapshot.colour

    def forget(self, object_id: int) -> None:
        """The object is followed no more."""
        self._labels.pop(object_id, None)
        self._colours.pop(object_id, None)
        self._show([each.track for each in self.newest if each.track.object_id != object_id])

    # Where they are.

    def smooth(self, boxes: BoxSmoothing | None) -> None:
        """Let boxes tremble less from the next frame on; None: not."""
        self._box_smoother = None if boxes is None else BoxSmoother(boxes)
        self._smooth_boxes = {}

    def show(
        self, frame_index: int, time_ns: int, tracks: Sequence[Track], shown: Sequence[int]
    ) -> None:
        """Tell the objects of a new frame; those of ``shown`` were prompted on it."""
        if self._box_smoother is not None:
            for object_id in shown:
                self._box_smoother.begin_anew(object_id)
            self._smooth_boxes = self._box_smoother.smooth(tracks, time_ns)
        self._newest = _Newest(frame_index, tuple(map(self._named, tracks)))

    def correct(self, tracks: Sequence[Track]) -> None:
        """Tell these objects of the newest frame anew."""
        for track in tracks:
            self._smooth_boxes.pop(track.object_id, None)
            if self._box_smoother is not None:
                self._box_smoother.begin_anew(track.object_id)
        all_tracks = {each.track.object_id: each.track for each in self.newest}
        all_tracks |= {track.object_id: track for track in tracks}
        self._show(list(all_tracks.values()))

    def _show(self, tracks: Sequence[Track]) -> None:
        """Let ``newest`` say something else of the newest frame."""
        self._newest = _Newest(self._newest.frame_index, tuple(map(self._named, tracks)))

    def _named(self, track: Track) -> ObjectResult:
        object_id = track.object_id
        return ObjectResult(
            track,
            self._labels.get(object_id),
            self._colours.get(object_id),
            self._smooth_boxes.get(object_id),
        )
