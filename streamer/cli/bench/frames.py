"""Frames for ``masklet bench``: rendered in advance, so that this is not measured, or recorded."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from streamer.config.streams import ObjectConfig, StreamConfig
from streamer.errors import MaskletError
from streamer.recorded.video_clip import VideoClip
from streamer.runtime.address import Address
from streamer.sources.base import SourceOutput
from streamer.types import ClockSource, DecodedFrame, DropReason, ImageArray, RgbPixels
from tracker.scenes.match import Match

# A recording shows no boxes of its objects: they are these shares of it, row by row.
_GRID, _SHARE = 8, 0.9
# Bound: frames kept for all streams together (1280×720: 2.8 MB each).
FRAMES = 32
SEED, PLAYERS, PACE = 10_007, 12, 0.5
BENCH_URL = "synthetic://match"
_TIME_BASE = Fraction(1, 1_000_000)


@dataclass(frozen=True, slots=True)
class BenchFrame:
    """A rendered image, and the boxes on it by object id."""

    image: ImageArray
    boxes: tuple[tuple[int, int, int, int], ...]


def render_frames(width: int, height: int, rate_hz: float) -> list[BenchFrame]:
    """A match, which ``BenchSource`` plays forwards and backwards to avoid a cut."""
    match = Match(SEED, width, height, rate_hz, players=PLAYERS, occluders=0, pace=PACE)
    frames = []
    for index in range(FRAMES):
        rendered = match.render(index)
        boxes = tuple(box for box in rendered.boxes.values() if box[2] > box[0] and box[3] > box[1])
        frames.append(BenchFrame(rendered.image, boxes))
    return frames


def recorded_frame(path: Path) -> tuple[BenchFrame, float]:
    """The first frame of a recording, with boxes side by side, and its rate in hertz.

    Raises ``SourceError`` for a file without video, ``MaskletError`` for one that cannot be played.
    """
    clip = VideoClip(path, "bench --clip")
    length_s = clip.time_s(clip.frames - 1)
    with closing(clip.read(0, backward=False, keep=lambda image: image)) as frames:
        _, image = next(frames)
    if image is None or length_s <= 0:
        why = "its first frame is damaged" if image is None else "it has a single frame"
        raise MaskletError(f"bench --clip: {path}: {why}; choose another recording")
    height, width = image.shape[:2]
    across, down = width / _GRID, height / _GRID
    boxes = tuple(
        (int(x), int(y), int(x + _SHARE * across), int(y + _SHARE * down))
        for y in np.arange(_GRID) * down
        for x in np.arange(_GRID) * across
    )
    return BenchFrame(image, boxes), (clip.frames - 1) / length_s


def bench_stream(frame: BenchFrame, objects: int) -> StreamConfig:
    """A stream with prompts on its first frame; boxes repeat if there are too few players."""
    return StreamConfig(
        url=Address.parse(BENCH_URL),
        max_objects=objects,
        objects=[
            ObjectConfig(
                id=number + 1, box=[float(v) for v in frame.boxes[number % len(frame.boxes)]]
            )
            for number in range(objects)
        ],
    )


class BenchSource:
    """Delivers frames at an even rate, delayed by ``phase`` (0 to 1) of a period."""

    lossless = False
    redacted_url = BENCH_URL
    deadline = None

    def __init__(self, frames: list[BenchFrame], rate_hz: float, phase: float, first: int) -> None:
        """The first frame delivered is ``frames[first]``."""
        self._frames = frames
        self._rate_hz = rate_hz
        self._phase = phase
        self._first = first

    def run(self, output: SourceOutput, stop: threading.Event) -> None:
        """Deliver until ``stop``."""
        period_ns = round(1e9 / self._rate_hz)
        began_ns = time.monotonic_ns() + round(self._phase * period_ns)
        to_unix_ns = time.time_ns() - time.monotonic_ns()
        around = [*range(len(self._frames)), *range(len(self._frames) - 2, 0, -1)]
        index = 0
        while True:
            due_ns = began_ns + index * period_ns
            late_ns = time.monotonic_ns() - due_ns
            if late_ns > period_ns:
                # The machine is too busy even to deliver frames.
                missed = late_ns // period_ns
                output.dropped(DropReason.BEHIND, missed)
                index += missed
                continue
            if stop.wait(max(0.0, -late_ns / 1e9)):
                return
            # Like a camera's: the time at which the frame was due, however late this thread is.
            image = self._frames[around[(self._first + index) % len(around)]].image
            output.frame(
                DecodedFrame(
                    pixels=RgbPixels(image),
                    pts=(due_ns - began_ns) // 1000,
                    time_base=_TIME_BASE,
                    capture_time_ns=due_ns + to_unix_ns,
                    clock_source=ClockSource.SYNTHETIC,
                    arrival_time_ns=due_ns + to_unix_ns,
                    arrival_monotonic_ns=due_ns,
                    decoded_monotonic_ns=time.monotonic_ns(),
                )
            )
            index += 1
