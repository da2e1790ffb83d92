"""The published view of one stream's objects: labels, colours, newest tracks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from streamer.inference.box_smoothing import BoxSmoother, BoxSmoothing, FloatBox
from streamer.inference.prompts.request import PromptRequest
from streamer.types import ObjectResult, ObjectSnapshot, ObjectSummary
from tracker.types import Track, TrackState


@dataclass(frozen=True, slots=True)
class _Newest:
    """The objects on the newest frame; -1: none was tracked yet."""

    frame_index: int
    objects: tuple[ObjectResult, ...]


class ShownObjects:
    """Changed by the inference thread only. Bound: names, colours and boxes of live objects."""

    def __init__(self) -> None:
        self._labels: dict[int, str] = {}
        self._colours: dict[int, str] = {}
        self._box_smoother: BoxSmoother | None = None
        self._smooth_boxes: dict[int, FloatBox] = {}
        self._newest = _Newest(-1, ())  # replaced as a whole: other threads read it

    @property
    def newest(self) -> tuple[ObjectResult, ...]:
        """The objects on the newest frame."""
        return self._newest.objects

    def summaries(self) -> list[ObjectSummary]:
        """The objects on the newest frame. May be called from any thread."""
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

    # Labels and colours.

    def label(self, object_id: int) -> str | None:
        """An object's label."""
        return self._labels.get(object_id)

    def colour(self, object_id: int) -> str | None:
        """An object's colour; None if the user chose none."""
        return self._colours.get(object_id)

    def rename(self, object_id: int, label: str | None, colour: str | None) -> None:
        """Change a label or colour; None keeps it, "" removes it."""
        for given, kept in ((label, self._labels), (colour, self._colours)):
            if given:
                kept[object_id] = given
            elif given is not None:
                kept.pop(object_id, None)
        self._show([each.track for each in self.newest])

    def name(self, request: PromptRequest) -> None:
        """Record the label and colour of an applied prompt."""
        if request.label is not None:
            self._labels[request.prompt.object_id] = request.label
        if request.colour is not None:
            self._colours[request.prompt.object_id] = request.colour

    def restore(self, snapshot: ObjectSnapshot) -> None:
        """Show an object of an earlier run as lost, until it is looked for on a frame."""
        if snapshot.label is not None:
            self._labels[snapshot.object_id] = snapshot.label
        if snapshot.colour is not None:
            self._colours[snapshot.object_id] = snapshot.colour
        self._show([*(each.track for each in self.newest), _unseen(snapshot.object_id)])

    def forget(self, object_id: int) -> None:
        """Discard an object that is no longer tracked."""
        self._labels.pop(object_id, None)
        self._colours.pop(object_id, None)
        self._show([each.track for each in self.newest if each.track.object_id != object_id])

    # Tracks.

    def smooth(self, boxes: BoxSmoothing | None) -> None:
        """Smooth boxes from the next frame on; None: not."""
        self._box_smoother = None if boxes is None else BoxSmoother(boxes)
        self._smooth_boxes = {}

    def show(
        self, frame_index: int, time_ns: int, tracks: Sequence[Track], prompted: Sequence[int]
    ) -> None:
        """Set the objects of a new frame; those of ``prompted`` were prompted on it."""
        if self._box_smoother is not None:
            for object_id in prompted:
                self._box_smoother.restart(object_id)
            self._smooth_boxes = self._box_smoother.smooth(tracks, time_ns)
        self._newest = _Newest(frame_index, tuple(map(self._named, tracks)))

    def correct(self, tracks: Sequence[Track]) -> None:
        """Replace these objects of the newest frame."""
        for track in tracks:
            self._smooth_boxes.pop(track.object_id, None)
            if self._box_smoother is not None:
                self._box_smoother.restart(track.object_id)
        all_tracks = {each.track.object_id: each.track for each in self.newest}
        all_tracks |= {track.object_id: track for track in tracks}
        self._show(list(all_tracks.values()))

    def _show(self, tracks: Sequence[Track]) -> None:
        """Replace the tracks of the newest frame."""
        self._newest = _Newest(self._newest.frame_index, tuple(map(self._named, tracks)))

    def _named(self, track: Track) -> ObjectResult:
        object_id = track.object_id
        return ObjectResult(
            track,
            self._labels.get(object_id),
            self._colours.get(object_id),
            self._smooth_boxes.get(object_id),
        )


def _unseen(object_id: int) -> Track:
    """An object of which nothing is known yet but that it is tracked."""
    nowhere = np.zeros((0, 0), dtype=np.bool_)
    return Track(object_id, TrackState.LOST, (0, 0, 0, 0), nowhere, 0, 0.0, 0.0, 0, 0)
