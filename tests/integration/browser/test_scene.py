"""The tests' own measuring tools: a picture's number survives what a call does to pictures."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.integration.browser.frame_counter import BITS, read, stamp
from tests.integration.browser.scene import Scene, middle, overlap


@given(number=st.integers(0, (1 << BITS) - 1), height=st.integers(90, 720))
def test_every_number_is_read_back_at_any_size(number: int, height: int) -> None:
    image = np.full((360, 640, 3), 128, dtype=np.uint8)
    stamp(image, number)
    scaled = cv2.resize(image, (height * 16 // 9, height), interpolation=cv2.INTER_AREA)
    assert read(scaled.astype(np.uint8)) == number


def test_a_blend_of_two_pictures_reads_as_one_of_them_or_as_none() -> None:
    for number in range((1 << BITS) - 1):
        pair = np.zeros((2, 60, 160, 3), dtype=np.uint8)
        stamp(pair[0], number)
        stamp(pair[1], number + 1)
        for share in (0.2, 0.5, 0.8):
            blend = (share * pair[0] + (1 - share) * pair[1]).astype(np.uint8)
            assert read(blend) in {number, number + 1, None}


def test_a_picture_without_a_number_reads_as_none() -> None:
    assert read(np.full((360, 640, 3), 90, dtype=np.uint8)) is None
    assert read(Scene(turn=2).truth(0).image) is None


@pytest.mark.parametrize("size", [(640, 360), (320, 180), (160, 90)])
def test_numbers_survive_vp8_at_a_low_bitrate(size: tuple[int, int]) -> None:
    scene = Scene(turn=12)
    encoder = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt = *size, "yuv420p"
    encoder.bit_rate, encoder.time_base = 200_000, Fraction(1, scene.rate_hz)
    encoder.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    decoder = av.CodecContext.create("vp8", "r")
    found = []
    for number in range(scene.length):
        picture = av.VideoFrame.from_ndarray(scene.picture(number), format="rgb24")
        picture = picture.reformat(*size, format="yuv420p")
        picture.pts = number
        for packet in encoder.encode(picture):
            found += [read(each.to_ndarray(format="rgb24")) for each in decoder.decode(packet)]
    assert found == list(range(scene.length))


def test_the_clip_runs_forth_and_back() -> None:
    scene = Scene(turn=10)
    assert scene.length == 20
    for number in (1, 4, 9):
        there, back = scene.mask(number, 1), scene.mask(scene.length - number, 1)
        assert overlap(there, back) == 1.0
        x, y = middle(there)
        assert there[y, x]
    assert overlap(scene.mask(0, 1), scene.mask(0, 2)) == 0.0
    assert scene.mask(0, 1, 320, 180).shape == (180, 320)
