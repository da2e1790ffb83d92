"""The pixels of a decoded picture: its planes for the tracker, or RGB.

A GPU resizes and converts the planes itself; on a CPU libswscale is faster, and
``streamer.streams.source_attempt`` converts to RGB at once.

Dimensions: H W picture, h w half of it.
"""

from __future__ import annotations

import threading
from typing import cast

import av
import numpy as np
from av.video.reformatter import Colorspace, VideoReformatter

from streamer.sources.orientation import UPRIGHT, Orientation
from streamer.types import ImageArray, Pixels, RgbPixels
from tracker.images.yuv import Matrix, YuvPicture

# AVColorSpace: BT.709; BT.470 BG and SMPTE 170M, both BT.601's matrix. AVCOL_RANGE_JPEG.
_BT709, _BT601, _FULL_RANGE = 1, (5, 6), 2
# AVCOL_SPC_UNSPECIFIED: the stream has no colour description.
_UNSPECIFIED = 2
# Without a description, this height and more means BT.709, less BT.601, as in players.
_HIGH_DEFINITION_LINES = 720
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


class RgbConverter:
    """Converts pictures of one stream; size and format may change.

    Keeps one swscale context: creating one per picture costs 0.25 ms. One thread only, so that
    many streams share the cores evenly.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()
        self._planar = VideoReformatter()

    def convert(self, frame: av.VideoFrame, orientation: Orientation = UPRIGHT) -> ImageArray:
        """``frame`` as RGB uint8, (height, width, 3), C-contiguous, as it is shown.

        0.1 ms at 640×360 and 0.6 ms at 1080p; where a row fills its alignment (widths that are
        multiples of 64 do) the array is FFmpeg's own buffer, not a copy. Raises ``FFmpegError``
        for a pixel format that cannot be converted.
        """
        unlabelled = frame.colorspace == _UNSPECIFIED
        high_definition = frame.height >= _HIGH_DEFINITION_LINES
        if frame.format.name == "nv12":
            # The format of device decoders. libswscale positions its chroma differently, by up to
            # 24 levels at edges: a picture must not depend on its decoder.
            frame = self._planar.reformat(frame, format="yuv420p", threads=1)
        rgb = self._reformatter.reformat(
            frame,
            format="rgb24",
            src_colorspace=Colorspace.ITU709 if unlabelled and high_definition else None,
            threads=1,
        )
        image = cast(ImageArray, rgb.to_ndarray())
        return np.ascontiguousarray(orientation.applied(image))


def pixels_of(frame: av.VideoFrame, orientation: Orientation = UPRIGHT) -> Pixels:
    """The planes of a picture; RGB if it must be turned or mirrored, or has other planes.

    Raises ``FFmpegError`` for a pixel format that cannot be converted.
    """
    yuv = _yuv(frame) if orientation == UPRIGHT else None
    if yuv is None:
        return RgbPixels(_converter().convert(frame, orientation))
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
    if frame.colorspace == _UNSPECIFIED:
        return "bt709" if frame.height >= _HIGH_DEFINITION_LINES else "bt601"
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
