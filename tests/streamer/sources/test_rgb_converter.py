"""Colours match those of players, whatever the stream declares or omits."""

from __future__ import annotations

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from streamer.sources.pixels import RgbConverter

# AVColorSpace, as a decoder puts it on a frame.
BT709, UNSPECIFIED, BT470BG = 1, 2, 5


def coded(
    rgb: tuple[int, int, int], *, height: int, matrix: Colorspace, label: int, full_range: bool
) -> av.VideoFrame:
    """A picture of one colour, coded with ``matrix`` and labelled with ``label``."""
    image = np.full((height, 64, 3), rgb, dtype=np.uint8)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
        format="yuv420p",
        dst_colorspace=matrix,
        dst_color_range=ColorRange.JPEG if full_range else ColorRange.MPEG,
    )
    frame.colorspace = label
    return frame


@pytest.mark.parametrize(
    ("height", "matrix", "label"),
    [
        (64, Colorspace.ITU601, UNSPECIFIED),
        (64, Colorspace.ITU601, BT470BG),
        (64, Colorspace.ITU709, BT709),
        (720, Colorspace.ITU709, UNSPECIFIED),
        (720, Colorspace.ITU601, BT470BG),
    ],
)
@pytest.mark.parametrize("full_range", [False, True])
def test_colours(height: int, matrix: Colorspace, label: int, full_range: bool) -> None:
    colour = (200, 60, 30)
    frame = coded(colour, height=height, matrix=matrix, label=label, full_range=full_range)
    image = RgbConverter().convert(frame)
    assert image.shape == (height, 64, 3)
    np.testing.assert_allclose(image.reshape(-1, 3).mean(axis=0), colour, atol=4)


@pytest.mark.parametrize("width", [64, 70, 638])
def test_images_are_contiguous_and_their_own(width: int) -> None:
    converter = RgbConverter()
    pictures = [np.full((48, width, 3), value, dtype=np.uint8) for value in (50, 200)]
    images = [
        converter.convert(
            av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p")
        )
        for picture in pictures
    ]
    for image, picture in zip(images, pictures, strict=True):
        assert image.flags.c_contiguous
        assert image.dtype == np.uint8
        np.testing.assert_allclose(image, picture, atol=3)


def test_size_and_format_may_change_from_picture_to_picture() -> None:
    converter = RgbConverter()
    for width, height, pixel_format in [
        (64, 48, "yuv420p"),
        (32, 96, "yuvj422p"),
        (30, 20, "nv12"),
    ]:
        assert converter.convert(av.VideoFrame(width, height, pixel_format)).shape == (
            height,
            width,
            3,
        )
