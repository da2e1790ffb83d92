"""Previews: the prompted frames with the masks that the prompts give there, before a long run."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import cv2

from streamer.errors import ConfigError
from streamer.recorded.clip import Clip, as_it_is
from streamer.recorded.outputs.debug import drawn
from streamer.recorded.outputs.files import write_bytes
from streamer.recorded.prompts import FramePrompts
from streamer.types import ImageArray
from tracker import Prompt, Tracker

_ON, _BESIDE, _EDGE = (0, 200, 0), (220, 0, 0), (255, 255, 255)


def write_previews(
    folder: Path, clip: Clip, prompts: FramePrompts, names: Mapping[int, str], tracker: Tracker
) -> list[Path]:
    """``preview/FRAME.png`` of each prompted frame, with points (green on, red beside) and boxes.

    Each frame stands alone: a correction shows what its own points give. Raises ``ConfigError``
    for a prompted frame that is damaged.
    """
    (folder / "preview").mkdir(parents=True, exist_ok=True)
    written = []
    for frame, own in prompts.items():
        image = picture_of(clip, frame)
        session = tracker.open_session(max_objects=len(own), needs_positive=False)
        try:
            (tracks,) = tracker.step([(session, image, own)])
        finally:
            session.close()
        canvas = drawn(image, tuple(tracks), names)
        for prompt in own:
            _draw_prompt(canvas, prompt)
        encoded, data = cv2.imencode(".png", canvas[..., ::-1])
        assert encoded, "pictures are encoded"
        written.append(folder / "preview" / f"{frame:05}.png")
        write_bytes(written[-1], data.tobytes())
    return written


def picture_of(clip: Clip, frame: int) -> ImageArray:
    """One picture of a clip. Raises ``ConfigError`` if it is damaged."""
    with closing(clip.read(frame, backward=False, keep=as_it_is)) as pictures:
        _, image = next(pictures)
    if image is None:
        raise ConfigError(
            f"frame {frame} of {clip.path} is damaged; give its prompt on another frame"
        )
    return image


def _draw_prompt(canvas: ImageArray, prompt: Prompt) -> None:
    width = max(1, round(canvas.shape[0] / 300))
    if prompt.box_xyxy is not None:
        x0, y0, x1, y1 = map(round, prompt.box_xyxy)
        cv2.rectangle(canvas, (x0, y0), (x1 - 1, y1 - 1), _EDGE, width)
    for (x, y), label in zip(prompt.points_xy, prompt.point_labels, strict=True):
        place, radius = (round(x), round(y)), 3 * width + 1
        cv2.circle(canvas, place, radius + width, _EDGE, cv2.FILLED)
        cv2.circle(canvas, place, radius, _ON if label else _BESIDE, cv2.FILLED)
