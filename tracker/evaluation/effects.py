"""Effects of camera, mount and transmission on a clip, which also transform the ground truth.

Every effect maps frames to frames, so that effects can be combined; randomness comes from the
given seed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from tracker.evaluation.clips import ClipFrame, EvaluationClip
from tracker.types import MaskArray

Effect = Callable[[Iterator[ClipFrame]], Iterator[ClipFrame]]
_Value = TypeVar("_Value", bound=np.generic)


def with_effects(
    clip: EvaluationClip, effects: Sequence[Effect], frame_count: int | None = None
) -> EvaluationClip:
    """The clip seen through ``effects``, the first one nearest to the scene.

    ``frame_count``: the remaining frames, if some are dropped.
    """

    def opened() -> Iterator[ClipFrame]:
        frames = clip.open()
        for effect in effects:
            frames = effect(frames)
        return frames

    return replace(
        clip, open=opened, frame_count=clip.frame_count if frame_count is None else frame_count
    )


def shake(seed: int, amplitude_px: float) -> Effect:
    """A hand-held camera: displacements by whole pixels, smooth and sudden.

    The border's pixels are repeated, and belong to no object.
    """

    def apply(frames: Iterator[ClipFrame]) -> Iterator[ClipFrame]:
        generator = np.random.default_rng([seed, 11])
        place, speed = np.zeros(2), np.zeros(2)
        for frame in frames:
            right, down = (int(value) for value in np.rint(place))
            yield _displaced(frame, right, down)
            # A damped spring that is kicked on every frame.
            speed += generator.normal(0.0, 0.45 * amplitude_px, 2) - 0.35 * place - 0.4 * speed
            place = np.clip(place + speed, -3 * amplitude_px, 3 * amplitude_px)

    return apply


def scene_cut(other: EvaluationClip, start: int, length: int) -> Effect:
    """Show another scene for ``length`` frames from ``start``; the hidden scene continues."""

    def apply(frames: Iterator[ClipFrame]) -> Iterator[ClipFrame]:
        instead = other.open()
        for index, frame in enumerate(frames):
            if not start <= index < start + length:
                yield frame
                continue
            shown = next(instead)
            nothing = np.zeros(shown.image.shape[:2], dtype=np.bool_)
            others = dict(enumerate([*shown.truth.values(), *shown.others.values()]))
            yield ClipFrame(shown.image, dict.fromkeys(frame.truth, nothing), others=others)

    return apply


def lost_frames(seed: int, share: float, count: int) -> npt.NDArray[np.bool_]:
    """The frames that a bad line loses: exactly ``share`` (0 to 0.95) of ``count`` frames.

    Lost in bursts of 2.5 frames on average, which may be adjacent; the first frame arrives.
    """
    if not 0.0 <= share <= 0.95:
        raise ValueError(f"the share of dropped frames must be 0..0.95, got {share}")
    generator = np.random.default_rng([seed, 12])
    left = min(round(share * count), count - 1)
    lost_after = np.zeros(count - left, dtype=np.intp)  # by frame that arrives
    while left:
        burst = min(left, int(generator.geometric(0.4)))
        lost_after[generator.integers(len(lost_after))] += burst
        left -= burst
    lost = np.ones(count, dtype=np.bool_)
    lost[np.cumsum(lost_after + 1) - lost_after - 1] = False
    return lost


def dropped(lost: npt.NDArray[np.bool_]) -> Effect:
    """Drop these frames; the others report the number lost before them."""

    def apply(frames: Iterator[ClipFrame]) -> Iterator[ClipFrame]:
        missed = 0
        for frame, gone in zip(frames, lost, strict=True):
            if gone:
                missed += 1
            else:
                yield replace(frame, missed=frame.missed + missed)
                missed = 0

    return apply


def compressed(quality: int) -> Effect:
    """Block artefacts of a starved encoder: every picture as a JPEG of ``quality`` 1 to 95."""

    def apply(frames: Iterator[ClipFrame]) -> Iterator[ClipFrame]:
        for frame in frames:
            stream = io.BytesIO()
            Image.fromarray(frame.image).save(stream, "JPEG", quality=quality)
            yield replace(frame, image=np.array(Image.open(stream).convert("RGB")))

    return apply


def rain(seed: int, drops: int) -> Effect:
    """``drops`` bright streaks on every picture, a little haze, and less light."""

    def apply(frames: Iterator[ClipFrame]) -> Iterator[ClipFrame]:
        generator = np.random.default_rng([seed, 13])
        slant = float(generator.uniform(-0.35, 0.35))
        for frame in frames:
            height, width = frame.image.shape[:2]
            picture = frame.image.astype(np.float32) * 0.8 + 26.0
            for length in generator.uniform(0.03, 0.09, drops) * height:
                along = np.arange(int(length) + 2)
                rows = (generator.integers(-10, height) + along).astype(np.intp)
                columns = (generator.integers(0, width) + slant * along).astype(np.intp)
                inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
                place = rows[inside], columns[inside]
                picture[place] += 0.55 * (225.0 - picture[place])
            yield replace(frame, image=np.clip(picture, 0, 255).astype(np.uint8))

    return apply


def _displaced(frame: ClipFrame, right: int, down: int) -> ClipFrame:
    def masks(of: dict[int, MaskArray]) -> dict[int, MaskArray]:
        return {key: _moved(mask, right, down, edge=False) for key, mask in of.items()}

    image = _moved(frame.image, right, down, edge=True)
    return replace(frame, image=image, truth=masks(frame.truth), others=masks(frame.others))


def _moved(
    pixels: npt.NDArray[_Value], right: int, down: int, *, edge: bool
) -> npt.NDArray[_Value]:
    """A displaced picture or mask; beyond its border the border is repeated, or empty."""
    height, width = pixels.shape[:2]
    rows, columns = np.arange(height) - down, np.arange(width) - right
    inside_rows, inside_columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    result = pixels[inside_rows][:, inside_columns]
    if not edge:
        result[(rows < 0) | (rows >= height)] = 0
        result[:, (columns < 0) | (columns >= width)] = 0
    return result
