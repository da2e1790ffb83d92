"""A decoder's planes: what the tracker takes is the picture, whichever layout, and RGB is lazy."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.video.reformatter import ColorRange, Colorspace

from streamer.inference.preparation import IN_RGB, Preparation, preparation
from streamer.sources.orientation import UPRIGHT, Orientation
from streamer.sources.pixels import RgbConverter, YuvPlanes, pixels_of
from streamer.types import RgbPixels
from tests.streamer.fakes import picture
from tests.tracker.little import little_tracker
from tracker.images.transforms import prepare_yuv

# AVColorSpace, as a decoder puts it on a frame.
BT709, UNSPECIFIED, BT470BG, BT2020 = 1, 2, 5, 9
CPU = torch.device("cpu")


def decoded(
    height: int = 48,
    width: int = 80,
    layout: str = "yuv420p",
    label: int = UNSPECIFIED,
    full_range: bool = False,
) -> av.VideoFrame:
    rows, columns = np.mgrid[:height, :width]
    colours = (rows / height, columns / width, (rows + columns) % 40 / 40)
    image = (30 + 190 * np.stack(colours, axis=2)).astype(np.uint8)
    frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(
        format=layout,
        dst_colorspace=Colorspace.ITU709 if label == BT709 else Colorspace.ITU601,
        dst_color_range=ColorRange.JPEG if full_range else ColorRange.MPEG,
    )
    frame.colorspace = label
    return frame


def planes(frame: av.VideoFrame) -> YuvPlanes:
    pixels = pixels_of(frame)
    assert isinstance(pixels, YuvPlanes)
    return pixels


@pytest.mark.parametrize("size", [(48, 80), (45, 83), (720, 1282)])
@pytest.mark.parametrize("label", [UNSPECIFIED, BT709, BT470BG])
@pytest.mark.parametrize("full_range", [False, True])
def test_both_layouts_become_the_same_image_for_the_network(
    size: tuple[int, int], label: int, full_range: bool
) -> None:
    plain = decoded(*size, label=label, full_range=full_range)
    turns = plain.reformat(format="nv12")
    own, other = planes(plain), planes(turns)
    assert own.yuv.full_range == other.yuv.full_range == full_range
    assert own.yuv.matrix == other.yuv.matrix
    assert (own.height, own.width) == (other.height, other.width) == size
    ours, theirs = (prepare_yuv(each.yuv, 64, CPU) for each in (own, other))
    assert torch.equal(ours.pixels_13SS, theirs.pixels_13SS)
    np.testing.assert_array_equal(own.rgb(), other.rgb())
    # And is the picture: libswscale's RGB, resized, within what its fractions make.
    rgb = little_tracker().prepare(own.rgb())
    difference = ours.pixels_13SS.float() - rgb.pixels_13SS.float()
    assert difference.abs().mean() < 3


def test_an_unlabelled_picture_is_read_as_players_do() -> None:
    assert planes(decoded(718)).yuv.matrix == "bt601"
    assert planes(decoded(720)).yuv.matrix == "bt709"
    assert planes(decoded(720, label=BT470BG)).yuv.matrix == "bt601"


def test_rgb_is_that_of_the_converter_and_made_once_for_all_threads() -> None:
    frame = decoded()
    own = planes(frame)
    with ThreadPoolExecutor(4) as threads:
        images = list(threads.map(lambda _: own.rgb(), range(8)))
    assert all(image is images[0] for image in images)
    np.testing.assert_array_equal(images[0], RgbConverter().convert(frame))


def test_planes_outlive_what_gave_them() -> None:
    yuv = planes(decoded(480, 640)).yuv
    before = yuv.luma_HW.copy()
    gc.collect()
    for _ in range(10):  # released memory would be reused
        decoded(480, 640).reformat(format="nv12")
    np.testing.assert_array_equal(yuv.luma_HW, before)


@pytest.mark.parametrize(
    ("layout", "label", "orientation"),
    [
        ("yuv422p", BT709, UPRIGHT),
        ("yuv420p10le", BT709, UPRIGHT),
        ("yuv420p", BT2020, UPRIGHT),
        ("nv12", BT709, Orientation(transposed=True)),
    ],
)
def test_other_pictures_are_rgb_at_once(layout: str, label: int, orientation: Orientation) -> None:
    frame = decoded(40, 64, layout, label)
    pixels = pixels_of(frame, orientation)
    assert isinstance(pixels, RgbPixels)
    assert pixels.image.shape == ((64, 40, 3) if orientation.transposed else (40, 64, 3))
    np.testing.assert_array_equal(pixels.image, RgbConverter().convert(frame, orientation))


def received(kept: Preparation) -> Any:
    own = planes(decoded())
    return own, kept.received(_with(own))


def _with(pixels: Any) -> Any:
    return replace(picture(0), pixels=pixels)


def test_on_a_processor_a_picture_is_rgb_from_the_beginning() -> None:
    own, picture_ = received(IN_RGB)
    assert picture_.pixels.rgb() is picture_.pixels.for_tracker() is own.rgb()
    tracker = little_tracker()
    ahead = preparation(tracker, ahead=True)
    assert not ahead.keeps_planes
    prepared = ahead.prepared(ahead.received(_with(own)))
    assert prepared is not None
    assert torch.equal(prepared.pixels_13SS, tracker.prepare(own.rgb()).pixels_13SS)
    assert preparation(tracker, ahead=False).prepared(picture_) is None


def test_planes_on_a_device_are_not_converted_to_rgb() -> None:
    given: list[Any] = []
    kept = Preparation(keeps_planes=True, ahead=lambda pixels: given.append(pixels))  # type: ignore[arg-type,return-value,func-returns-value]
    own, picture_ = received(kept)
    assert picture_.pixels is own
    kept.prepared(picture_)
    assert given == [own.yuv]
    assert picture_.pixels.for_tracker() is own.yuv
    assert (picture_.pixels.height, picture_.pixels.width) == (48, 80)
    assert own._rgb is None
    assert picture_.pixels.rgb() is own.rgb()
