"""Planes of a decoder are converted as by libswscale, within a few levels."""

from __future__ import annotations

import re

import av
import numpy as np
import numpy.typing as npt
import pytest
import torch
from av.video.reformatter import ColorRange, Colorspace
from torch.nn import functional as F

from tests.tracker.little import assert_same, click, little_tracker, step
from tracker.images import transforms
from tracker.images.transforms import prepare_yuv
from tracker.images.yuv import Matrix, YuvPicture

CPU = torch.device("cpu")
SIDE = 96
SPACES = {"bt601": Colorspace.ITU601, "bt709": Colorspace.ITU709}


def picture(seed: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Colours that change over a few pixels, as in most of a photograph."""
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(1, 3, height, width)
    for cells in (3, 12, 24):
        noise = torch.randn(1, 3, cells, cells, generator=generator)
        total += F.interpolate(noise, (height, width), mode="bicubic")
    return (128 + 45 * total[0]).clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()


def coded(rgb: npt.NDArray[np.uint8], layout: str, matrix: str, full: bool) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    return frame.reformat(
        format=layout,
        src_color_range=ColorRange.JPEG,
        dst_colorspace=SPACES[matrix],
        dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
    )


def plane(frame: av.VideoFrame, index: int) -> npt.NDArray[np.uint8]:
    own = frame.planes[index]
    return np.frombuffer(own, np.uint8).reshape(own.height, own.line_size)


def planes_of(frame: av.VideoFrame, matrix: Matrix, full: bool) -> YuvPicture:
    half = -(-frame.width // 2)
    luma = plane(frame, 0)[:, : frame.width]
    if frame.format.name == "nv12":
        colour = plane(frame, 1)[:, : 2 * half].reshape(-1, half, 2)
        return YuvPicture.of_nv12(luma, colour, matrix, full)
    return YuvPicture(luma, plane(frame, 1)[:, :half], plane(frame, 2)[:, :half], matrix, full)


@pytest.mark.parametrize("layout", ["yuv420p", "nv12"])
@pytest.mark.parametrize("matrix", ["bt601", "bt709"])
@pytest.mark.parametrize("full", [False, True])
def test_colours_are_those_of_swscale(layout: str, matrix: Matrix, full: bool) -> None:
    source = picture(3, 270, 480)
    frame = coded(source, layout, matrix, full)
    rgb = frame.reformat(
        format="rgb24",
        src_colorspace=SPACES[matrix],
        src_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
    ).to_ndarray()
    truth, theirs = (
        transforms.prepare_image(image, SIDE, CPU).pixels_13SS.float() for image in (source, rgb)
    )
    prepared = prepare_yuv(planes_of(frame, matrix, full), SIDE, CPU)
    ours = prepared.pixels_13SS.float()
    assert float((ours - theirs).abs().mean()) < 2.2
    assert float((ours - theirs).abs().max()) <= 8
    # It truncates where we round.
    assert float((ours - truth).abs().mean()) < float((theirs - truth).abs().mean())
    assert (prepared.height, prepared.width) == (270, 480)


@pytest.mark.parametrize("size", [(61, 47), (64, 64), (33, 90)])
def test_a_grey_picture_of_any_size_is_grey(size: tuple[int, int]) -> None:
    half = (-(-size[0] // 2), -(-size[1] // 2))
    grey = np.full(half, 128, np.uint8)
    for full, level in ((True, 100), (False, round((100 - 16) * 255 / 219))):
        flat = YuvPicture(np.full(size, 100, np.uint8), grey, grey, full_range=full)
        pixels = prepare_yuv(flat, 64, CPU).pixels_13SS
        assert pixels.shape == (1, 3, 64, 64)
        assert (pixels == level).all()


def test_an_object_is_tracked_in_planes_as_in_rgb() -> None:
    source = picture(5, 90, 120)
    prepared = little_tracker().prepare(source)
    frame = coded(source, "yuv420p", "bt709", True)
    tracker = little_tracker()
    from_planes = tracker.prepare_yuv(planes_of(frame, "bt709", True))
    assert from_planes.pixels_13SS.shape == prepared.pixels_13SS.shape
    assert from_planes.pixels_13SS.stride() == prepared.pixels_13SS.stride()
    (first,) = tracker.step([(tracker.open_session(), from_planes, [click(1)])])
    own = step(tracker, tracker.open_session(), source, click(1))[1]
    assert_same(first[0], own, relative=0.1)


def test_planes_given_to_a_step_and_kept_for_later_are_those_prepared() -> None:
    tracker = little_tracker()
    pictures = [
        planes_of(coded(picture(seed, 90, 120), "nv12", "bt709", False), "bt709", False)
        for seed in range(4)
    ]
    results = []
    for prepare in (lambda planes: planes, tracker.prepare_yuv):
        session = tracker.open_session(history_frames=4)
        for index, each in enumerate(pictures):
            # The first object comes late: until then, nothing is encoded.
            prompts = [click(1)] if index == 2 else []
            image = prepare(each)
            tracker.step([(session, image, prompts)])
            if index < 2:
                assert session.history_bytes == (index + 1) * image.nbytes
        correction = tracker.correct(session, [click(2, 50, 20)], 0)
        results.append([*correction.tracks, *correction.latest])
    for own, other in zip(*results, strict=True):
        assert own.logits is not None
        np.testing.assert_array_equal(own.logits, other.logits)
        assert own.mask.shape == (90, 120)


@pytest.mark.parametrize(
    ("planes", "message"),
    [
        (((4, 6), (2, 3), (2, 2)), "chroma planes of a picture of (4, 6) must be (2, 3)"),
        (((5, 5), (2, 2), (2, 2)), "chroma planes of a picture of (5, 5) must be (3, 3)"),
        (((0, 0), (0, 0), (0, 0)), "planes must be uint8 (rows, columns)"),
    ],
)
def test_planes_that_do_not_fit_are_refused(planes: object, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        YuvPicture(*(np.zeros(shape, np.uint8) for shape in planes))
    with pytest.raises(ValueError, match="matrix must be one of bt601, bt709, got 'bt2020'"):
        YuvPicture(*(np.zeros(side, np.uint8) for side in ((2, 2), (1, 1), (1, 1))), "bt2020")
