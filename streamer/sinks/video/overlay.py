"""Draws objects into a picture: masks, outlines, boxes, names and trails.

Only the pixels of an object are touched; there is no copy of the whole picture. Colour is never
the only sign: every object has its number, and a hidden one a dashed box, no fill and a suffix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from streamer.sinks.video.labels import label_picture, label_text
from streamer.sinks.video.palette import Colour, colour_of, dimmed
from streamer.sinks.video.trails import Box, Point, Trail
from streamer.sinks.video.view import Scene
from streamer.types import ImageArray, ObjectResult
from tracker.types import MaskArray, TrackState

FILL_OPACITY = 0.35
# Dark below every line, so that it is visible on a background of its own colour.
HALO: Colour = (16, 16, 16)
HIDDEN = " (hidden)"
# cv2's line functions take coordinates with this many binary digits after the point.
_SHIFT = 4


def draw_overlay(canvas: ImageArray, scene: Scene) -> None:
    """Draw all objects of ``scene`` into ``canvas``, the frame's picture at any size (RGB)."""
    draw_objects(canvas, scene.result.objects, scene.trails)


def draw_objects(
    canvas: ImageArray, objects: Sequence[ObjectResult], trails: Mapping[int, Trail] | None = None
) -> None:
    """Draw objects of one picture into ``canvas``, that picture at any size (RGB)."""
    if not objects:
        return
    trails = trails or {}
    pen = _Pen.for_canvas(canvas, canvas.shape[1] / objects[0].track.frame_width)
    for entry in objects:
        if (trail := trails.get(entry.track.object_id)) is not None:
            pen.trail(trail.points, _colour(entry))
    for entry in objects:
        if entry.track.area > 0:
            pen.mask(entry.track.crop, entry.track.box_xyxy, _colour(entry))
    # Labels last, so that no mask or box covers one.
    names: list[tuple[str, Box, Colour]] = []
    for entry in objects:
        track, colour = entry.track, _colour(entry)
        trail = trails.get(track.object_id)
        if track.area > 0:
            pen.corners(track.box_xyxy, colour)
            names.append((label_text(track.object_id, entry.label), track.box_xyxy, colour))
        elif track.state is TrackState.OCCLUDED and trail is not None:
            pen.dashed_box(trail.last_box, dimmed(colour))
            text = label_text(track.object_id, entry.label, HIDDEN)
            names.append((text, trail.last_box, dimmed(colour)))
    for text, box, colour in names:
        pen.name(text, box, colour)


def _colour(entry: ObjectResult) -> Colour:
    return colour_of(entry.track.object_id, entry.colour)


@dataclass(frozen=True, slots=True)
class _Pen:
    """Draws in source coordinates on a canvas of another size, with lines that fit the canvas."""

    canvas: ImageArray
    scale: float
    line_px: int
    text_px: int
    names: list[Box] = field(default_factory=list)

    @classmethod
    def for_canvas(cls, canvas: ImageArray, scale: float) -> _Pen:
        height = canvas.shape[0]
        return cls(canvas, scale, max(1, round(height / 400)), max(11, round(height / 34)))

    def mask(self, crop: MaskArray, box: Box, colour: Colour) -> None:
        """The object's pixels, tinted, and their outline."""
        x0, y0, x1, y1 = self._box(box)
        if x1 <= x0 or y1 <= y0:
            return
        pixels = crop.view(np.uint8)
        if pixels.shape != (y1 - y0, x1 - x0):
            scaled = cv2.resize(
                pixels * np.uint8(255), (x1 - x0, y1 - y0), interpolation=cv2.INTER_LINEAR
            )
            pixels = (scaled > 127).view(np.uint8)
        region = self.canvas[y0:y1, x0:x1]
        tint = np.full(region.shape, colour, dtype=np.uint8)
        tinted = cv2.addWeighted(region, 1 - FILL_OPACITY, tint, FILL_OPACITY, 0)
        cv2.copyTo(tinted, pixels, region)
        outlines, _ = cv2.findContours(pixels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
        for line_px, line_colour in ((self.line_px + 2, HALO), (self.line_px, colour)):
            cv2.drawContours(
                self.canvas, outlines, -1, line_colour, line_px, cv2.LINE_8, offset=(x0, y0)
            )

    def trail(self, points: Sequence[Point], colour: Colour) -> None:
        """The trail of an object; thinner where it is older."""
        if len(points) < 2:
            return
        way = np.round(np.asarray(points) * self.scale * (1 << _SHIFT)).astype(np.int32)
        half = len(way) // 2
        newest = self.line_px + 1
        for part, line_px in ((way[: half + 1], max(1, newest - 1)), (way[half:], newest)):
            self._polyline(part, line_px + 2, HALO)
            self._polyline(part, line_px, colour)

    def corners(self, box: Box, colour: Colour) -> None:
        """The four corners of a box: where it is, without lines across the picture."""
        x0, y0, x1, y1 = self._box(box)
        length = max(3, min(x1 - x0, y1 - y0) // 4)
        for x, towards_x in ((x0, length), (x1, -length)):
            for y, towards_y in ((y0, length), (y1, -length)):
                corner = np.array([(x + towards_x, y), (x, y), (x, y + towards_y)], dtype=np.int32)
                self._polyline(corner << _SHIFT, self.line_px + 2, HALO)
                self._polyline(corner << _SHIFT, self.line_px, colour)

    def dashed_box(self, box: Box, colour: Colour) -> None:
        """A whole box in dashes."""
        x0, y0, x1, y1 = self._box(box)
        dash = 4 * self.line_px + 2
        for x in range(x0, x1, 2 * dash):
            for y in (y0, y1):
                self._dash((x, y), (min(x + dash, x1), y), colour)
        for y in range(y0, y1, 2 * dash):
            for x in (x0, x1):
                self._dash((x, y), (x, min(y + dash, y1)), colour)

    def name(self, text: str, box: Box, colour: Colour) -> None:
        """The label above the box, or below or inside it where that is free; never cut off."""
        height, width = self.canvas.shape[:2]
        label = label_picture(text, colour, self.text_px)[:height, :width]
        label_height, label_width = label.shape[:2]
        x0, y0, _, y1 = self._box(box)
        left = min(max(0, x0), width - label_width)
        gap = self.line_px + 1
        tops = [
            top
            for top in (y0 - label_height - gap, y1 + gap, y0 + gap)
            if 0 <= top <= height - label_height
        ] or [min(max(0, y0), height - label_height)]
        places = [(left, top, left + label_width, top + label_height) for top in tops]
        place = next((each for each in places if not self._covers_name(each)), places[0])
        self.names.append(place)
        self.canvas[place[1] : place[3], place[0] : place[2]] = label

    def _covers_name(self, place: Box) -> bool:
        return any(
            place[0] < right and left < place[2] and place[1] < bottom and top < place[3]
            for left, top, right, bottom in self.names
        )

    def _dash(self, start: tuple[int, int], end: tuple[int, int], colour: Colour) -> None:
        cv2.line(self.canvas, start, end, HALO, self.line_px + 2)
        cv2.line(self.canvas, start, end, colour, self.line_px)

    def _polyline(self, points: np.ndarray, line_px: int, colour: Colour) -> None:
        cv2.polylines(
            self.canvas, [points.reshape(-1, 1, 2)], False, colour, line_px, cv2.LINE_AA, _SHIFT
        )

    def _box(self, box: Box) -> Box:
        """``box`` on the canvas, inside of it."""
        height, width = self.canvas.shape[:2]
        x0, y0, x1, y1 = (round(side * self.scale) for side in box)
        return (min(x0, width), min(y0, height), min(x1, width), min(y1, height))
