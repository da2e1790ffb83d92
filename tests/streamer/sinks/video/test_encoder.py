"""The video encoders: what they give can be decoded, and carries the right times."""

from __future__ import annotations

import av
import numpy as np
import pytest

from streamer.sinks.video.encoder import KEYFRAME_REQUEST_INTERVAL_S, PictureCodec, VideoEncoder
from streamer.webrtc.rtp_clock import VIDEO_CLOCK_HZ
from tests.integration.browser.frame_counter import read
from tests.streamer.sinks.video.scenes import RATE_HZ, frame_result

START = 10**12
STEP = VIDEO_CLOCK_HZ // RATE_HZ
CODECS = pytest.mark.parametrize("codec", list(PictureCodec))


def encoder(
    codec: PictureCodec = PictureCodec.VP8, keyframe_interval_s: float = 60.0
) -> VideoEncoder:
    return VideoEncoder(
        codec, bitrate_bps=1_500_000, keyframe_interval_s=keyframe_interval_s, rate_hz=RATE_HZ
    )


def picture(index: int, width: int = 320, height: int = 180) -> np.ndarray:
    return frame_result(index, width=width, height=height).frame.picture.pixels.rgb()


def decoder(codec: PictureCodec) -> av.VideoCodecContext:
    return av.CodecContext.create("libvpx" if codec is PictureCodec.VP8 else "h264", "r")


@CODECS
def test_every_picture_comes_out_at_once_with_its_number_and_time(codec: PictureCodec) -> None:
    encodes, decodes = encoder(codec), decoder(codec)
    for index in range(20):
        packets = encodes.encode(picture(index), START + index * STEP)
        assert [packet.pts for packet in packets] == [START + index * STEP]
        assert packets[0].is_keyframe == (index == 0)
        shown = [read(f.to_ndarray(format="rgb24")) for p in packets for f in decodes.decode(p)]
        assert shown == [index]


@CODECS
def test_another_size_begins_with_a_keyframe_that_decodes(codec: PictureCodec) -> None:
    encodes, decodes = encoder(codec), decoder(codec)
    sizes = [(320, 180), (320, 180), (640, 360), (640, 360), (322, 182)]
    keyframes = []
    for index, (width, height) in enumerate(sizes):
        (packet,) = encodes.encode(picture(index, width, height), START + index * STEP)
        keyframes.append(packet.is_keyframe)
        (shown,) = decodes.decode(packet)
        assert (shown.width, shown.height) == (width, height)
        assert read(shown.to_ndarray(format="rgb24")) == index
    assert keyframes == [True, False, True, False, True]


@CODECS
def test_keyframe_comes_when_it_was_asked_for_but_not_more_often_than_allowed(
    codec: PictureCodec,
) -> None:
    encodes = encoder(codec)
    keyframes = []
    for index in range(60):
        encodes.request_keyframe()
        (packet,) = encodes.encode(picture(index), START + index * STEP)
        if packet.is_keyframe:
            keyframes.append(index)
    every = round(KEYFRAME_REQUEST_INTERVAL_S * RATE_HZ)
    assert keyframes == list(range(0, 60, every))


@CODECS
def test_keyframes_come_by_time_whatever_the_rate_is(codec: PictureCodec) -> None:
    encodes = encoder(codec, keyframe_interval_s=2.0)
    keyframes = []
    for second in range(9):
        (packet,) = encodes.encode(picture(second), START + second * VIDEO_CLOCK_HZ)
        if packet.is_keyframe:
            keyframes.append(second)
    assert keyframes == [0, 2, 4, 6, 8]


def test_picture_that_is_not_later_is_left_out() -> None:
    encodes = encoder()
    assert encodes.encode(picture(0), START)
    assert encodes.encode(picture(1), START) == []
    assert encodes.encode(picture(1), START - 1) == []
    assert encodes.encode(picture(1), START + 1)


@CODECS
def test_bitrate_is_kept_on_noise(codec: PictureCodec) -> None:
    random = np.random.default_rng(0)
    encodes = encoder(codec)
    sizes = [
        packet.size
        for index in range(90)
        for packet in encodes.encode(
            random.integers(0, 256, (180, 320, 3), dtype=np.uint8), START + index * STEP
        )
    ]
    assert sum(sizes) * 8 / 3.0 < 2 * 1_500_000  # nothing is harder than this
    assert max(sizes) < 128 * 1200  # a receiver's jitter buffer
