"""How a decoded picture must be turned and mirrored to be shown: its display matrix.

Phones and front cameras write the matrix into the file, some cameras into the stream (the display
orientation message of H.264 and H.265), and JPEG pictures carry it as EXIF data. FFmpeg makes one
matrix of each.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from math import cos, hypot, radians, sin
from typing import NamedTuple, cast

import av
from av.buffer import Buffer

from streamer.types import ImageArray

# libavutil/display.h: (a b u) (c d v) (x y w), 16.16 fixed point; a pixel (p, q) is shown at
# (a·p + c·q + x, b·p + d·q + y), with y downwards.
_MATRIX = struct.Struct("=9i")


class Orientation(NamedTuple):
    """One of the eight: transpose rows and columns, then reverse either. None: false throughout."""

    transposed: bool = False
    columns_reversed: bool = False
    rows_reversed: bool = False

    def applied(self, image: ImageArray) -> ImageArray:
        """The picture as shown: a view of ``image``, (height, width, …)."""
        if self.transposed:
            image = image.swapaxes(0, 1)
        return image[
            :: -1 if self.rows_reversed else 1,
            :: -1 if self.columns_reversed else 1,
        ]


UPRIGHT = Orientation()


class OrientationState:
    """The orientation of each picture of one stream.

    A message in the stream comes with a keyframe and applies until the next (ITU-T H.264, D.2.27),
    but FFmpeg attaches it to that picture alone.
    """

    def __init__(self) -> None:
        self._of_sequence: Orientation | None = None

    def of(self, frame: av.VideoFrame, default: Orientation = UPRIGHT) -> Orientation:
        """The orientation of the next picture; ``default`` if the stream states none."""
        own = stated_orientation(frame)
        if own is not None or frame.key_frame:
            self._of_sequence = own
        return default if self._of_sequence is None else self._of_sequence


def stated_orientation(frame: av.VideoFrame) -> Orientation | None:
    """The orientation that ``frame`` carries, None without one."""
    try:
        side_data = cast("Mapping[str, Buffer]", frame.side_data)
        matrix = side_data.get("DISPLAYMATRIX")
    except ValueError:
        # PyAV 18.1 does not know every kind of side data (31 is EXIF), and then gives none at all.
        a, b = (round(each(radians(-frame.rotation))) for each in (cos, sin))
        return Orientation(b != 0, b > 0 or a < 0, b < 0 or a < 0)
    return None if matrix is None else nearest_orientation(bytes(matrix))


def nearest_orientation(matrix: bytes) -> Orientation:
    """The nearest orientation to a display matrix: other angles, scales and shears are ignored.

    Upright for bytes that are no matrix, and exactly between two.
    """
    if len(matrix) != _MATRIX.size:
        return UPRIGHT
    a, b, _, c, d, _, *_ = _MATRIX.unpack(matrix)
    # Each axis counts the same, however it is scaled.
    x_length, y_length = hypot(a, b) or 1.0, hypot(c, d) or 1.0
    straight = abs(a) / x_length + abs(d) / y_length
    crossed = abs(b) / x_length + abs(c) / y_length
    # An angle of 45° is not exact in fixed point.
    if crossed > straight + 1e-3:
        return Orientation(True, c < 0, b < 0)
    return Orientation(False, a < 0, d < 0)
