"""The demo's film: results drawn over their frames, and compared with the ground truth."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from streamer.types import ImageArray
from streamer.wire.codec import FrameMessage
from tracker.scenes import Match, SceneFrame
from tracker.types import MaskArray

FILM_S = 10
FRAMES_SCORED = 200
MASK_OPACITY = 0.5
COLOURS = (
    (230, 80, 60), (60, 140, 240), (250, 200, 40), (90, 200, 100), (200, 100, 230),
    (250, 140, 40), (70, 210, 210), (240, 120, 170),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Film:
    """The files, and the IoU of the results with the scene."""

    video: Path
    picture: Path
    frames_scored: int
    iou_by_object: dict[str, float]

    @property
    def mean_iou(self) -> float:
        """Over all objects."""
        return sum(self.iou_by_object.values()) / max(1, len(self.iou_by_object))


def make_film(
    scene: Match,
    results: Sequence[FrameMessage],
    rate_hz: int,
    directory: Path,
    prompted: Collection[int],
) -> Film:
    """Write ``match.mp4`` (the last ``FILM_S`` seconds) and ``match.png`` into ``directory``.

    ``results`` are of one stream that shows ``scene``, in order, at least one. Objects
    ``prompted`` have the scene's ids and are compared with it; others are only drawn, since the
    object that a visitor meant is not known.
    """
    video, picture = directory / "match.mp4", directory / "match.png"
    last = scene_index(results[-1], rate_hz)
    filmed = [each for each in results if scene_index(each, rate_hz) > last - FILM_S * rate_hz]
    shown = max(filmed, key=_seen)
    _write_video(scene, filmed, rate_hz, video)
    Image.fromarray(draw(scene.render(scene_index(shown, rate_hz)).image, shown)).save(picture)
    sample = results[:: max(1, len(results) // FRAMES_SCORED)]
    return Film(video, picture, len(sample), _overlap(scene, sample, rate_hz, prompted))


def scene_index(message: FrameMessage, rate_hz: int) -> int:
    """The scene's frame that a result belongs to."""
    numerator, denominator = message.header.time_base
    assert message.header.pts is not None, "a rendered scene has presentation times"
    return round(message.header.pts * Fraction(numerator, denominator) * rate_hz)


def draw(image: ImageArray, message: FrameMessage) -> ImageArray:
    """A copy of ``image`` (H, W, 3) with the masks, boxes, names and ages of a result."""
    canvas = image.astype(np.float32)
    for entry in message.objects:
        colour = np.array(_colour(entry.id), dtype=np.float32)
        mask = message.mask(entry)
        canvas[mask] = (1 - MASK_OPACITY) * canvas[mask] + MASK_OPACITY * colour
        canvas[_outline(mask)] = colour
    picture = Image.fromarray(canvas.astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(12)
    for entry in message.objects:
        if not entry.area:
            continue
        x0, y0, x1, y1 = entry.bbox
        name = f"{entry.id} {entry.label or ''}".strip()
        pen.rectangle((x0, y0, x1 - 1, y1 - 1), outline=_colour(entry.id))
        pen.text((x0 + 1, max(0, y0 - 14)), name, fill="white", font=font, stroke_width=2,
                 stroke_fill="black")  # fmt: skip
    times = message.header.stage_times_ns
    caption = f"frame {message.header.frame_index}   {times.published / 1e6:.0f} ms"
    pen.text((6, image.shape[0] - 18), caption, fill="white", font=font, stroke_width=2,
             stroke_fill="black")  # fmt: skip
    return np.asarray(picture)


def _write_video(scene: Match, results: Sequence[FrameMessage], rate_hz: int, path: Path) -> None:
    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz)
        assert isinstance(stream, av.VideoStream), f"{codec} encodes pictures"
        stream.width, stream.height = scene.width, scene.height
        stream.pix_fmt = "yuv420p"
        stream.time_base = Fraction(1, rate_hz)
        if codec == "libx264":
            stream.options = {"crf": "21", "preset": "veryfast"}
        first = scene_index(results[0], rate_hz)
        for message in results:
            index = scene_index(message, rate_hz)
            picture = draw(scene.render(index).image, message)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index - first, Fraction(1, rate_hz)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _overlap(
    scene: Match, results: Sequence[FrameMessage], rate_hz: int, prompted: Collection[int]
) -> dict[str, float]:
    """Mean IoU of each object with its true mask; 1 where both are empty."""
    found: dict[str, list[float]] = {}
    for message in results:
        truth: SceneFrame = scene.render(scene_index(message, rate_hz))
        for entry in message.objects:
            if entry.id not in prompted:
                continue
            name = f"{entry.id} {scene.labels[entry.id]}"  # a visitor may have renamed it
            found.setdefault(name, []).append(_iou(message.mask(entry), truth.masks[entry.id]))
    return {name: sum(values) / len(values) for name, values in sorted(found.items())}


def _iou(mask: MaskArray, truth: MaskArray) -> float:
    union = int(np.count_nonzero(mask | truth))
    return 1.0 if union == 0 else int(np.count_nonzero(mask & truth)) / union


def _seen(message: FrameMessage) -> int:
    return sum(entry.area > 0 for entry in message.objects)


def _colour(object_id: int) -> tuple[int, int, int]:
    return COLOURS[object_id % len(COLOURS)]


def _outline(mask: MaskArray) -> MaskArray:
    """The pixels of ``mask`` that touch others."""
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    outline: MaskArray = mask & ~inner
    return outline
