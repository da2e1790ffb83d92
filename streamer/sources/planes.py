"""A decoder's planes: the tracker receives them, viewers receive RGB.

A GPU resizes and converts the planes itself; on a CPU libswscale is faster, and
``streamer.streams.source_attempt`` converts to RGB at once.

Dimensions: H W picture, h w half of it.
"""

from __future__ import annotations

import threading
from typing import cast

import av
import numpy as np

from streamer.sources.rgb_conversion import HIGH_DEFINITION_LINES, UNSPECIFIED, RgbConverter
from streamer.types import ImageArray, Pixels, RgbPixels
from tracker.images.yuv import (
    Matrix,
    YuvPicture,
)

# AVColorSpace: BT.709; BT.470 BG and SMPTE 170M, both BT.601's matrix. AVCOL_RANGE_JPEG.
_BT709, _BT601, _FULL_RANGE = 1, (5, 6), 2
_converters = threading.local()  # one swscale context per converting thread


class YuvPlanes:
    """One frame's luma and chroma planes. May be read by any thread.

    Bound: the planes, and one RGB picture once ``rgb`` was called.
    """

    def __init__(self, frame: av.VideoFrame, yuv: YuvPicture) -> None:
        self.yuv = yuv
        self.height, self.width = yuv.luma_HW.shape
        self._frame = frame
        self._rgb: ImageArray | None = None
        self._lock = threading.Lock()

    def for_tracker(self) -> YuvPicture:
        """The planes: the tracker converts them on its device."""
        return self.yuv

    def rgb(self) -> ImageArray:
        """RGB uint8 (H, W, 3), converted at the first call and kept."""
        with self._lock:
            if self._rgb is None:
                self._rgb = _converter().convert(self._frame)
            return self._rgb


def pixels_of(frame: av.VideoFrame, rotation: int = 0) -> Pixels:
    """The planes of a picture; RGB if it must be rotated or has planes of another format.

    ``rotation``, in degrees, is for frames that do not carry their own. Raises ``FFmpegError``
    for a pixel format that cannot be converted.
    """
    rotation = rotation or frame.rotation
    yuv = None if rotation else _yuv(frame)
    if yuv is None:
        return RgbPixels(_converter().convert(frame, rotation))
    return YuvPlanes(frame, yuv)


def _yuv(frame: av.VideoFrame) -> YuvPicture | None:
    matrix = _matrix(frame)
    if matrix is None:
        return None
    full_range = frame.color_range == _FULL_RANGE or frame.format.name == "yuvj420p"
    rows, columns = -(-frame.height // 2), -(-frame.width // 2)
    match frame.format.name:
        case "yuv420p" | "yuvj420p":
            return YuvPicture(
                _plane(frame, 0, frame.height, frame.width),
                _plane(frame, 1, rows, columns),
                _plane(frame, 2, rows, columns),
                matrix,
                full_range,
            )
        case "nv12":
            colour = _plane(frame, 1, rows, 2 * columns)
            return YuvPicture.of_nv12(
                _plane(frame, 0, frame.height, frame.width),
                colour.reshape(rows, columns, 2),
                matrix,
                full_range,
            )
    return None


def _matrix(frame: av.VideoFrame) -> Matrix | None:
    if frame.colorspace == UNSPECIFIED:
        return "bt709" if frame.height >= HIGH_DEFINITION_LINES else "bt601"
    if frame.colorspace == _BT709:
        return "bt709"
    return "bt601" if frame.colorspace in _BT601 else None


def _plane(frame: av.VideoFrame, index: int, rows: int, columns: int) -> ImageArray:
    """A view of a plane without its row padding; it keeps the frame alive."""
    plane = frame.planes[index]
    lines = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
    return lines[:rows, :columns]


def _converter() -> RgbConverter:
    if not hasattr(_converters, "own"):
        _converters.own = RgbConverter()
    return cast(RgbConverter, _converters.own)
