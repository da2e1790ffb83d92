"""Small clips with the index encoded in every picture, made with PyAV."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from streamer.types import ImageArray

CLIP_LENGTH = 16
WIDTH, HEIGHT = 160, 128
_ENCODERS: dict[str, tuple[str, str, dict[str, str]]] = {
    # One slice a picture, no picture held back: as cameras encode.
    "h264": (
        "libx264",
        "yuv420p",
        {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "x264-params": "slices=1:sliced-threads=0:threads=1:scenecut=0",
        },
    ),
    "h265": (
        "libx265",
        "yuv420p",
        {
            "preset": "ultrafast",
            "tune": "zerolatency",
            "x265-params": "log-level=none:pools=none:frame-threads=1:scenecut=0",
        },
    ),
    # RTP carries no Huffman tables (RFC 2435): only the standard ones.
    "mjpeg": ("mjpeg", "yuvj420p", {"huffman": "default"}),
}


def numbered_picture(index: int, width: int = WIDTH, height: int = HEIGHT) -> ImageArray:
    """Picture ``index``: a grey that encodes it, modulo ``CLIP_LENGTH``, with a red upper half."""
    image = np.full((height, width, 3), 20 + 14 * (index % CLIP_LENGTH), dtype=np.uint8)
    image[: height // 2] = (200, 30, 40)
    return image


def read_number(image: ImageArray) -> int:
    """The index that ``numbered_picture`` was given, modulo ``CLIP_LENGTH``."""
    height = image.shape[0]
    grey = float(image[height * 5 // 8 : height * 7 // 8].mean())
    return round((grey - 20) / 14)


def encoder(
    codec: str,
    *,
    width: int = WIDTH,
    height: int = HEIGHT,
    rate_hz: int = 25,
    keyframe_every: int = 8,
) -> av.VideoCodecContext:
    """An encoder set up as a camera's."""
    name, pixel_format, options = _ENCODERS[codec]
    context = av.VideoCodecContext.create(name, "w")
    context.width, context.height, context.pix_fmt = width, height, pixel_format
    context.time_base, context.framerate = Fraction(1, rate_hz), Fraction(rate_hz)
    context.gop_size = keyframe_every
    context.options = options
    context.thread_count = 1
    return context


def encode(
    codec: str, count: int, *, width: int = WIDTH, height: int = HEIGHT, keyframe_every: int = 8
) -> list[bytes]:
    """``count`` numbered pictures as access units (H.264 and H.265 with start codes)."""
    context = encoder(codec, width=width, height=height, keyframe_every=keyframe_every)
    packets = []
    for index in range(count):
        packets += context.encode(_frame(index, context))
    packets += context.encode(None)
    return [bytes(packet) for packet in packets]


def write_clip(
    path: Path,
    codec: str = "h264",
    *,
    count: int = CLIP_LENGTH,
    rate_hz: int = 25,
    width: int = WIDTH,
    height: int = HEIGHT,
    keyframe_every: int = 8,
) -> Path:
    """Write ``count`` numbered pictures to ``path``; its suffix names the container."""
    name, pixel_format, options = _ENCODERS[codec]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(name, rate=rate_hz, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.gop_size = keyframe_every
        stream.codec_context.thread_count = 1
        for index in range(count):
            container.mux(stream.encode(_frame(index, stream.codec_context)))
        container.mux(stream.encode(None))
    return path


def _frame(index: int, context: av.VideoCodecContext) -> av.VideoFrame:
    picture = numbered_picture(index, context.width, context.height)
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=context.pix_fmt)
    frame.pts = index
    return frame
