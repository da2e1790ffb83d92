"""Clips with a colour in each corner, and a display matrix in their track header."""

from __future__ import annotations

import struct
from pathlib import Path

import av
import numpy as np

from streamer.types import ImageArray

WIDTH, HEIGHT, FRAMES = 96, 64, 3
_COLOURS = {"R": (220, 30, 30), "G": (30, 200, 30), "B": (30, 30, 220), "W": (230, 230, 230)}
# The linear part of the matrix: a, b, c, d; a pixel (p, q) is shown at (a·p + c·q, b·p + d·q).
Linear = tuple[float, float, float, float]
ORIENTATIONS: dict[str, Linear] = {
    "plain": (1, 0, 0, 1),
    "mirrored": (-1, 0, 0, 1),
    "upside down and mirrored": (1, 0, 0, -1),
    "half turn": (-1, 0, 0, -1),
    "quarter turn clockwise": (0, 1, -1, 0),
    "quarter turn anticlockwise": (0, -1, 1, 0),
    "transposed": (0, 1, 1, 0),
    "transposed the other way": (0, -1, -1, 0),
}
# The corners of the picture as shown: upper left, upper right, lower left, lower right.
SHOWN = {
    "plain": "RGBW",
    "mirrored": "GRWB",
    "upside down and mirrored": "BWRG",
    "half turn": "WBGR",
    "quarter turn clockwise": "BRWG",
    "quarter turn anticlockwise": "GWRB",
    "transposed": "RBGW",
    "transposed the other way": "WGBR",
}


def corner_picture() -> ImageArray:
    """Red, green; blue, white."""
    image = np.empty((HEIGHT, WIDTH, 3), np.uint8)
    for colour, rows, columns in zip("RGBW", (0, 0, 1, 1), (0, 1, 0, 1), strict=True):
        top, left = rows * HEIGHT // 2, columns * WIDTH // 2
        image[top : top + HEIGHT // 2, left : left + WIDTH // 2] = _COLOURS[colour]
    return image


def corners(image: ImageArray) -> str:
    """The colours of the four corners, in reading order."""
    height, width = image.shape[:2]
    found = ""
    for row, column in ((1, 1), (1, 3), (3, 1), (3, 3)):
        pixel = image[row * height // 4, column * width // 4].astype(int)
        found += min(_COLOURS, key=lambda name: abs(pixel - _COLOURS[name]).sum())
    return found


def display_matrix(linear: Linear, byte_order: str = "=") -> bytes:
    """The nine numbers of a display matrix."""
    a, b, c, d = (round(each * (1 << 16)) for each in linear)
    return struct.pack(f"{byte_order}9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)


def write_oriented_clip(path: Path, linear: Linear) -> Path:
    """An MP4 whose track header holds the matrix (ISO/IEC 14496-12, 8.3.2, version 0)."""
    _write(path, None)
    data = bytearray(path.read_bytes())
    matrix_at = data.index(b"tkhd") + 4 + 40
    data[matrix_at : matrix_at + 36] = display_matrix(linear, ">")
    path.write_bytes(data)
    return path


def write_oriented_stream(path: Path, message: str) -> Path:
    """H.264 with display orientation messages: options of FFmpeg's ``h264_metadata`` filter."""
    _write(path, f"h264_metadata=display_orientation=insert:{message}")
    return path


def _write(path: Path, bitstream_filter: str | None) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"tune": "zerolatency"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        packets = []
        for _ in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(corner_picture(), "rgb24")
            packets += stream.encode(frame.reformat(format="yuv420p"))
        packets += stream.encode(None)
        if bitstream_filter is not None:
            applied = av.BitStreamFilterContext(bitstream_filter, stream)
            packets = [each for packet in packets for each in applied.filter(packet)]
        container.mux(packets)
