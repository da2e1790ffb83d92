"""Decoding what a WebRTC peer sends, and giving up one that sends nothing of use."""

from __future__ import annotations

import asyncio
import base64
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from streamer.errors import SourceError, SourceFailure
from streamer.sources.encoded_pictures import EncodedPictureReader
from streamer.types import DropReason
from streamer.webrtc.encoded_feed import CAPACITY_BYTES, CAPACITY_PICTURES, EncodedFeed, FeedEnd
from streamer.webrtc.frame_assembler import EncodedPicture, is_keyframe_data
from streamer.webrtc.parameter_sets import read_parameter_sets
from streamer.webrtc.rtp_clock import RtpCaptureClock
from tests.streamer.sources.recorder import Recorder
from tests.streamer.webrtc.numbered_scene import draw, read_number

ENDED = FeedEnd(SourceFailure.ENDED, "the publisher ended its session")


def encode(count: int, *, codec: str = "libvpx", keyframes: int = 1000, first: int = 0) -> list:
    """Numbered pictures as a peer sends them; RTP time begins shortly before it wraps."""
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt = 192, 128, "yuv420p"
    context.time_base = Fraction(1, 30)
    context.gop_size = keyframes
    name = "VP8" if codec == "libvpx" else "H264"
    context.options = (
        {"deadline": "realtime", "lag-in-frames": "0"} if name == "VP8" else {"tune": "zerolatency"}
    )
    made = []
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(draw(first + number, 192, 128), format="rgb24")
        frame.pts = number
        for packet in context.encode(frame):
            data = bytes(packet)
            timestamp = (2**32 - 6000 + (first + number) * 3000) & 0xFFFFFFFF
            keyframe = is_keyframe_data(name, data)
            made.append(EncodedPicture(name, data, timestamp, keyframe, number, number))
    return made


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


class Feed(EncodedFeed):
    """A feed that counts what its reader asked for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.keyframe_requests = 0
        self.stops: list[FeedEnd] = []
        super().__init__(
            RtpCaptureClock(10), loop, request_keyframe=self._count, stop=self.stops.append
        )
        self.peer_loop = loop

    def _count(self) -> None:
        self.keyframe_requests += 1

    def let_peer_hear(self) -> None:
        self.peer_loop.call_soon(self.peer_loop.stop)
        self.peer_loop.run_forever()


@pytest.fixture
def feed(loop: asyncio.AbstractEventLoop) -> Feed:
    return Feed(loop)


def read(feed: Feed, *pictures: EncodedPicture) -> Recorder:
    """What a reader makes of them, until the feed's end."""
    for picture in pictures:
        feed.put(picture)
    feed.close(ENDED)
    output = Recorder()
    with pytest.raises(SourceError) as raised:
        EncodedPictureReader("cam1", feed, 10, 10).run(output, threading.Event())
    assert raised.value.reason is SourceFailure.ENDED
    assert str(raised.value) == "cam1: the publisher ended its session"
    feed.let_peer_hear()
    return output


@pytest.mark.parametrize("codec", ["libvpx", "libx264"])
def test_every_picture_is_decoded_and_its_time_continues(feed: Feed, codec: str) -> None:
    output = read(feed, *encode(8, codec=codec))
    assert [read_number(frame.pixels.rgb()) for frame in output.frames] == list(range(8))
    assert [frame.pts for frame in output.frames] == [2**32 - 6000 + n * 3000 for n in range(8)]
    assert not output.resets
    assert feed.keyframe_requests == 0


def huge(width: int, height: int) -> EncodedPicture:
    """A VP8 keyframe of a few bytes that claims a size (RFC 6386, section 9.1)."""
    tag = (1 << 4 | 7 << 5).to_bytes(3, "little")
    size = width.to_bytes(2, "little") + height.to_bytes(2, "little")
    return EncodedPicture("VP8", tag + b"\x9d\x01\x2a" + size + bytes(67), 0, True, 0, 0)


@pytest.mark.parametrize(
    ("width", "height", "is_taken"),
    [(3840, 2160, True), (2160, 3840, True), (8192, 4352, False), (16_383, 16_383, False)],
)
def test_size_is_limited_however_few_bytes_claim_it(
    feed: Feed, width: int, height: int, is_taken: bool
) -> None:
    output = read(feed, huge(width, height))
    assert [frame.pixels.rgb().shape for frame in output.frames] == [(height, width, 3)] * is_taken
    assert output.drops == ({} if is_taken else {DropReason.DECODE_ERROR: 1})


def test_pictures_before_a_keyframe_are_dropped_and_one_is_asked_for(feed: Feed) -> None:
    output = read(feed, *encode(8, keyframes=4)[1:])
    assert [read_number(frame.pixels.rgb()) for frame in output.frames] == [4, 5, 6, 7]
    assert output.drops == {DropReason.NO_KEYFRAME: 3}
    assert feed.keyframe_requests == 3


def test_codec_may_change(feed: Feed) -> None:
    output = read(feed, *encode(3), *encode(3, codec="libx264", first=3))
    assert [read_number(frame.pixels.rgb()) for frame in output.frames] == [0, 1, 2, 3, 4, 5]


def test_garbage_is_counted_and_the_next_keyframe_awaited(feed: Feed) -> None:
    pictures = encode(8, keyframes=4)
    broken = EncodedPicture("VP8", b"\x01", pictures[1].timestamp, False, 0, 0)
    output = read(feed, pictures[0], broken, *pictures[2:])
    assert [read_number(frame.pixels.rgb()) for frame in output.frames] == [0, 4, 5, 6, 7]
    assert output.drops[DropReason.DECODE_ERROR] == 1
    assert feed.keyframe_requests >= 1


def test_pictures_of_monstrous_size_are_refused(feed: Feed) -> None:
    (keyframe,) = encode(1)
    data = bytearray(keyframe.data)
    data[6:10] = np.array([16383, 16383], dtype="<u2").tobytes()
    monster = EncodedPicture("VP8", bytes(data), keyframe.timestamp, True, 0, 0)
    output = read(feed, monster, *encode(2))
    assert [read_number(frame.pixels.rgb()) for frame in output.frames] == [0, 1]


def test_full_feed_forgets_everything_and_asks_for_a_keyframe(feed: Feed) -> None:
    pictures = encode(4, keyframes=2)
    for _ in range(CAPACITY_PICTURES + 1):
        feed.put(pictures[0])
        assert feed.waiting <= CAPACITY_PICTURES
    assert feed.waiting == 0
    output = read(feed, *pictures[1:])
    assert [read_number(frame.pixels.rgb()) for frame in output.frames] == [2, 3]
    assert output.drops[DropReason.BEHIND] == CAPACITY_PICTURES + 1
    assert feed.keyframe_requests >= 1


def test_feed_is_bounded_by_bytes_too(feed: Feed) -> None:
    big = EncodedPicture("VP8", bytes(CAPACITY_BYTES // 3), 0, True, 0, 0)
    for _ in range(3):
        feed.put(big)
    assert feed.waiting == 3
    feed.put(big)
    assert feed.waiting == 0


def test_closed_feed_takes_nothing_and_keeps_its_first_reason(feed: Feed) -> None:
    feed.close(ENDED)
    feed.close(FeedEnd(SourceFailure.TIMEOUT, "later"))
    feed.put(encode(1)[0])
    assert feed.waiting == 0
    assert feed.end is ENDED


def test_peer_that_sends_nothing_decodable_is_given_up(feed: Feed) -> None:
    feed.put(EncodedPicture("VP8", b"\x01", 0, False, 0, 0))
    with pytest.raises(SourceError) as raised:
        EncodedPictureReader("cam1", feed, 0.2, 9).run(Recorder(), threading.Event())
    assert raised.value.reason is SourceFailure.GARBAGE
    feed.let_peer_hear()
    assert [end.reason for end in feed.stops] == [SourceFailure.GARBAGE]


def test_live_peer_that_sends_nothing_decodable_any_more_is_given_up(feed: Feed) -> None:
    feed.put(encode(1)[0])
    feed.put(EncodedPicture("VP8", b"\x01", 3000, False, 0, 0))
    output = Recorder()
    with pytest.raises(SourceError, match=r"for 0\.2 s \(read_timeout_s\)"):
        EncodedPictureReader("cam1", feed, 60, 0.2).run(output, threading.Event())
    assert len(output.frames) == 1


def test_requests_to_a_peer_with_a_closed_loop_are_no_error(feed: Feed) -> None:
    feed.peer_loop.close()
    feed.request_keyframe()
    feed.stop(ENDED)


def without_parameter_sets(pictures: list[EncodedPicture]) -> tuple[bytes, list[EncodedPicture]]:
    """The SPS and PPS of H.264 pictures, as a description has them, and pictures without any."""
    start = b"\x00\x00\x00\x01"
    units = {
        picture: [
            unit
            for unit in re.split(rb"\x00\x00\x00?\x01", picture.data)
            if unit and unit[0] & 0x1F in (1, 5, 7, 8)
        ]
        for picture in pictures
    }
    sets = [unit for unit in units[pictures[0]] if unit[0] & 0x1F in (7, 8)]
    bare = [
        replace(picture, data=b"".join(start + u for u in own if u[0] & 0x1F not in (7, 8)))
        for picture, own in units.items()
    ]
    return ",".join(base64.b64encode(unit).decode() for unit in sets), bare


def test_parameter_sets_of_the_description_are_enough(
    feed: Feed, loop: asyncio.AbstractEventLoop
) -> None:
    text, pictures = without_parameter_sets(encode(4, codec="libx264"))
    assert not read(feed, *pictures[:2]).frames
    informed = Feed(loop)
    informed.parameter_sets = read_parameter_sets(text)
    recorder = read(informed, *pictures)
    assert [read_number(frame.pixels.rgb()) for frame in recorder.frames] == [0, 1, 2, 3]
    assert not recorder.drops


def test_parameter_sets_in_the_stream_win(feed: Feed) -> None:
    """The description is of a picture of another size."""
    other = av.CodecContext.create("libx264", "w")
    other.width, other.height, other.pix_fmt, other.time_base = 64, 48, "yuv420p", Fraction(1, 30)
    other.options = {"tune": "zerolatency"}
    data = b"".join(map(bytes, other.encode(av.VideoFrame(64, 48, "yuv420p"))))
    text, _ = without_parameter_sets([EncodedPicture("H264", data, 0, True, 0, 0)])
    feed.parameter_sets = read_parameter_sets(text)
    recorder = read(feed, *encode(4, codec="libx264"))
    assert [frame.pixels.width for frame in recorder.frames] == [192] * 4


def test_malformed_parameter_sets_are_named_once_and_ignored(
    feed: Feed, caplog: pytest.LogCaptureFixture
) -> None:
    feed.parameter_sets = read_parameter_sets("Z0LA*")
    pictures = encode(4, codec="libx264")
    assert len(read(feed, *pictures).frames) == 4
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("cam1: sprop-parameter-sets in the peer's description is ignored: 'Z0LA")
