"""A moving scene with the frame number in the picture, readable after any codec."""

from __future__ import annotations

import asyncio
import time
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

RATE_HZ = 30
_BITS = 12
_TIME_BASE = Fraction(1, 90_000)
Image = npt.NDArray[np.uint8]


def draw(number: int, width: int, height: int) -> Image:
    """RGB: the number's bits as white and black fields along the top, a square that moves."""
    image = np.full((height, width, 3), 90, dtype=np.uint8)
    field = width // _BITS
    for bit in range(_BITS):
        left = bit * field
        image[: height // 6, left : left + field] = 235 if number >> bit & 1 else 20
    side = height // 5
    left = (number * 4) % (width - side)
    image[height // 2 : height // 2 + side, left : left + side] = (220, 40, 40)
    return image


def read_number(image: Image) -> int:
    """The number that ``draw`` put into a picture of any size."""
    height, width = image.shape[:2]
    field = width // _BITS
    number = 0
    for bit in range(_BITS):
        middle = image[height // 20 : height // 8, bit * field + field // 3 :][:, : field // 3]
        number |= int(middle.mean() > 128) << bit
    return number


class NumberedTrack(MediaStreamTrack):
    """Sends numbered frames at ``RATE_HZ``; ``size`` may be changed while it runs.

    ``sent_ns`` holds when each frame was made. While ``silent`` is set, nothing is sent.
    """

    kind = "video"

    def __init__(self, width: int = 320, height: int = 240) -> None:
        super().__init__()
        self.size = (width, height)
        self.silent = False
        self.sent_ns: list[int] = []
        self._began_s: float | None = None

    async def recv(self) -> av.VideoFrame:
        """The next frame, when it is due."""
        number = len(self.sent_ns)
        if self._began_s is None:
            self._began_s = time.monotonic()
        due_s = self._began_s + number / RATE_HZ
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        while self.silent:
            await asyncio.sleep(0.02)
        if self.readyState != "live":
            raise MediaStreamError
        frame = av.VideoFrame.from_ndarray(draw(number, *self.size), format="rgb24")
        frame.pts = number * 90_000 // RATE_HZ
        frame.time_base = _TIME_BASE
        self.sent_ns.append(time.time_ns())
        return frame
