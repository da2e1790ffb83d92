"""Viewers share one encoding; a viewer that does not read costs nothing and delays no other."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import av
import numpy as np
import pytest
from PIL import Image

import streamer.sinks.video.jpeg as jpeg_module
import streamer.sinks.video.video_channel as channel_module
from streamer.config.network import PictureConfig
from streamer.runtime.metrics import Metrics
from streamer.sinks.video.encoder import PictureCodec, VideoEncoder
from streamer.sinks.video.hub import PictureHub
from streamer.sinks.video.video_channel import PACKETS_PER_VIEWER, SILENCE_S, Viewer
from streamer.sinks.video.view import Scene, View
from streamer.sinks.video.watched_stream import (
    JPEG_CHANNELS_PER_STREAM,
    NoPictureError,
    PictureBusyError,
)
from streamer.types import FrameResult, StreamState
from streamer.webrtc.rtp_clock import video_ticks
from tests.integration.browser.frame_counter import read
from tests.streamer.fakes import FakeClock
from tests.streamer.sinks.video.scenes import HEIGHT, WIDTH, frame_result
from tests.streamer.wire.wire_samples import event, status

TIMEOUT_S = 20.0


class Encodes:
    """Counts what is encoded."""

    def __init__(self) -> None:
        self.video: list[int] = []
        self.jpeg: list[tuple[View, int]] = []


@pytest.fixture
def encodes(monkeypatch: pytest.MonkeyPatch) -> Encodes:
    counted = Encodes()
    encode_video, encode_jpeg = VideoEncoder.encode, jpeg_module.encode_jpeg

    def video(self: VideoEncoder, image: np.ndarray, ticks: int) -> list[av.Packet]:
        counted.video.append(ticks)
        return encode_video(self, image, ticks)

    def jpeg(scene: Scene, view: View, width: int, quality: int) -> bytes:
        counted.jpeg.append((view, width))
        return encode_jpeg(scene, view, width, quality)

    monkeypatch.setattr(VideoEncoder, "encode", video)
    monkeypatch.setattr(jpeg_module, "encode_jpeg", jpeg)
    monkeypatch.setattr("streamer.sinks.video.watched_stream.encode_jpeg", jpeg)
    return counted


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def hub(metrics: Metrics, clock: FakeClock) -> AsyncIterator[PictureHub]:
    hub = PictureHub(PictureConfig(keyframe_interval_s=60.0), metrics, clock)
    yield hub
    await hub.close()


def frames_dropped(metrics: Metrics, reason: str) -> float:
    value = metrics.registry.get_sample_value(
        "masklet_picture_frames_dropped_total", {"stream": "gate", "reason": reason}
    )
    return value or 0.0


async def soon(condition: Callable[[], bool]) -> None:
    """Let the loop and the threads run until ``condition`` is true."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():
            await asyncio.sleep(0.001)


async def joined(viewer: Viewer) -> asyncio.Task[av.Packet | None]:
    """The viewer's first read, pending."""
    reading = asyncio.create_task(viewer.read())
    await asyncio.sleep(0)
    return reading


async def number(packet: av.Packet | None, decoder: av.VideoCodecContext) -> int | None:
    assert packet is not None
    (frame,) = decoder.decode(packet)
    return read(frame.to_ndarray(format="rgb24"))


async def test_without_viewers_nothing_is_encoded(hub: PictureHub, encodes: Encodes) -> None:
    before = threading.active_count()
    for index in range(5):
        await hub.publish(frame_result(index))
    with hub.watch("gate", View.OVERLAY, PictureCodec.VP8):
        await hub.publish(frame_result(5))  # begins with the first read
    assert not hub.is_encoding("gate")
    assert threading.active_count() == before
    assert (encodes.video, encodes.jpeg) == ([], [])


async def test_without_viewers_decoder_planes_are_not_converted(hub: PictureHub) -> None:
    class Planes:
        width, height = WIDTH, HEIGHT

        def rgb(self) -> np.ndarray:
            raise AssertionError("no viewer wants to see it")

    for index in range(3):
        result = frame_result(index)
        picture = replace(result.frame.picture, pixels=Planes())  # type: ignore[arg-type]
        await hub.publish(replace(result, frame=replace(result.frame, picture=picture)))


async def test_two_viewers_share_one_encoding_and_the_last_one_ends_it(
    hub: PictureHub, encodes: Encodes
) -> None:
    decoders = [av.CodecContext.create("libvpx", "r") for _ in "12"]
    with contextlib.ExitStack() as second_leaves:
        with hub.watch("gate", View.OVERLAY, PictureCodec.VP8) as first:
            second = second_leaves.enter_context(hub.watch("gate", View.OVERLAY, PictureCodec.VP8))
            reading = [await joined(first), await joined(second)]
            for index in range(10):
                result = frame_result(index)
                await hub.publish(result)
                for viewer, decoder in enumerate(decoders):
                    packet = await asyncio.wait_for(reading[viewer], TIMEOUT_S)
                    assert packet is not None
                    assert packet.pts == video_ticks(result.frame.picture)
                    assert await number(packet, decoder) == index
                reading = [await joined(first), await joined(second)]
            for task in reading:
                task.cancel()
        assert len(encodes.video) == 10
        assert hub.is_encoding("gate")
    assert not hub.is_encoding("gate")
    await hub.publish(frame_result(10))
    assert len(encodes.video) == 10


async def test_views_and_codecs_are_encoded_on_their_own(hub: PictureHub, encodes: Encodes) -> None:
    with (
        hub.watch("gate", View.OVERLAY, PictureCodec.VP8) as drawn,
        hub.watch("gate", View.CLEAN, PictureCodec.VP8) as clean,
        hub.watch("gate", View.CLEAN, PictureCodec.H264) as other_codec,
    ):
        reading = [await joined(viewer) for viewer in (drawn, clean, other_codec)]
        await hub.publish(frame_result(0))
        packets = await asyncio.wait_for(asyncio.gather(*reading), TIMEOUT_S)
        assert len(encodes.video) == 3
    pictures = [
        av.CodecContext.create(name, "r").decode(packet)[0].to_ndarray(format="rgb24").astype(int)
        for name, packet in zip(("libvpx", "libvpx", "h264"), packets, strict=True)
    ]
    assert np.abs(pictures[0] - pictures[1]).max() > 60
    assert np.abs(pictures[1] - pictures[2]).mean() < 10


async def test_viewer_that_never_reads_loses_its_own_frames_only(
    hub: PictureHub, metrics: Metrics
) -> None:
    with (
        hub.watch("gate", View.OVERLAY, PictureCodec.VP8) as quick,
        hub.watch("gate", View.OVERLAY, PictureCodec.VP8) as stuck,
    ):
        decoder = av.CodecContext.create("libvpx", "r")
        reading, first = await joined(quick), await joined(stuck)
        for index in range(60):
            await hub.publish(frame_result(index))
            packet = await asyncio.wait_for(reading, TIMEOUT_S)
            assert await number(packet, decoder) == index
            reading = await joined(quick)
        reading.cancel()
        assert quick.dropped == 0
        assert await number(await first, av.CodecContext.create("libvpx", "r")) == 0
        assert 60 - stuck.dropped - 1 <= PACKETS_PER_VIEWER
        assert frames_dropped(metrics, "viewer_behind") == stuck.dropped

        # Once it reads again, it is given a keyframe first.
        again = await joined(stuck)
        await hub.publish(frame_result(61))
        packet = await asyncio.wait_for(again, TIMEOUT_S)
        assert packet is not None
        assert packet.is_keyframe
        assert await number(packet, av.CodecContext.create("libvpx", "r")) == 61


async def test_viewer_whose_network_is_full_gets_no_further_frames_until_a_keyframe(
    hub: PictureHub,
) -> None:
    congested = False
    with hub.watch("gate", View.OVERLAY, PictureCodec.VP8) as viewer:
        viewer.is_congested = lambda: congested
        reading = await joined(viewer)
        await hub.publish(frame_result(0))
        assert await asyncio.wait_for(reading, TIMEOUT_S)
        congested = True
        reading = await joined(viewer)
        await hub.publish(frame_result(1))
        await soon(lambda: viewer.dropped == 1)
        congested = False
        await hub.publish(frame_result(2))  # asks for the keyframe
        await soon(lambda: viewer.dropped == 2)
        await hub.publish(frame_result(40))
        packet = await asyncio.wait_for(reading, TIMEOUT_S)
        assert packet is not None
        assert packet.is_keyframe


async def test_keyframe_request_gives_a_keyframe(hub: PictureHub) -> None:
    with hub.watch("gate", View.OVERLAY, PictureCodec.VP8) as viewer:
        keyframes = []
        for index in range(40):
            reading = await joined(viewer)
            if index == 30:
                viewer.request_keyframe()
            await hub.publish(frame_result(index))
            packet = await asyncio.wait_for(reading, TIMEOUT_S)
            assert packet is not None
            if packet.is_keyframe:
                keyframes.append(index)
    assert keyframes == [0, 30]


async def test_viewer_joining_an_idle_stream_sees_its_last_picture(
    hub: PictureHub, clock: FakeClock
) -> None:
    result = frame_result(3, arrival_ns=clock.now_ns)
    await hub.publish(result)
    with hub.watch("gate", View.OVERLAY, PictureCodec.VP8) as first:
        packet = await asyncio.wait_for(first.read(), TIMEOUT_S)
        assert packet is not None
        assert packet.pts == video_ticks(result.frame.picture)
        clock.advance(SILENCE_S + 1)
        with hub.watch("gate", View.OVERLAY, PictureCodec.VP8) as second:
            packet = await asyncio.wait_for(second.read(), TIMEOUT_S)
            assert await number(packet, av.CodecContext.create("libvpx", "r")) == 3


async def test_two_views_joined_just_before_a_stream_rests_both_get_its_last_picture(
    hub: PictureHub, clock: FakeClock
) -> None:
    await hub.publish(frame_result(3, arrival_ns=clock.now_ns))
    with contextlib.ExitStack() as viewers:
        for view in View:
            # The second viewer joins after the only keyframe, and no further picture comes.
            for _ in range(2):
                viewer = viewers.enter_context(hub.watch("gate", view, PictureCodec.VP8))
                packet = await asyncio.wait_for(viewer.read(), TIMEOUT_S)
                assert await number(packet, av.CodecContext.create("libvpx", "r")) == 3
                clock.advance(SILENCE_S - 0.05)


async def test_slow_encoder_skips_to_the_newest_picture_and_counts_what_it_skipped(
    hub: PictureHub, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_drawing, may_draw = threading.Event(), threading.Event()
    render = channel_module.render

    def slow_render(*parts: object) -> np.ndarray:
        is_drawing.set()
        may_draw.wait(TIMEOUT_S)
        return render(*parts)

    monkeypatch.setattr(channel_module, "render", slow_render)
    with hub.watch("gate", View.OVERLAY, PictureCodec.VP8) as viewer:
        reading = await joined(viewer)
        await hub.publish(frame_result(0))
        await soon(is_drawing.is_set)
        for index in range(1, 8):
            await hub.publish(frame_result(index))
        may_draw.set()
        decoder = av.CodecContext.create("libvpx", "r")
        assert await number(await asyncio.wait_for(reading, TIMEOUT_S), decoder) == 0
        assert await number(await asyncio.wait_for(viewer.read(), TIMEOUT_S), decoder) == 7
    assert frames_dropped(metrics, "encoder_busy") == 6


async def test_rate_is_limited(metrics: Metrics, clock: FakeClock, encodes: Encodes) -> None:
    hub = PictureHub(PictureConfig(maximum_rate_hz=10.0), metrics, clock)
    with hub.watch("gate", View.CLEAN, PictureCodec.VP8) as viewer:
        reading = await joined(viewer)
        for index in range(30):
            await hub.publish(frame_result(index))
            if index % 3 == 0:
                await asyncio.wait_for(reading, TIMEOUT_S)
                reading = await joined(viewer)
        reading.cancel()
    await hub.close()
    assert len(encodes.video) == 10


async def test_last_picture_before_a_pause_is_not_lost_to_the_rate(
    metrics: Metrics, clock: FakeClock
) -> None:
    hub = PictureHub(PictureConfig(maximum_rate_hz=10.0), metrics, clock)
    with (
        hub.watch("gate", View.CLEAN, PictureCodec.VP8) as viewer,
        hub.jpegs("gate", View.CLEAN) as jpegs,
    ):
        decoder = av.CodecContext.create("libvpx", "r")
        reading = await joined(viewer)
        for index in range(2):  # the second one comes too soon, and nothing comes after it
            await hub.publish(frame_result(index))
        shown = [await number(await asyncio.wait_for(reading, TIMEOUT_S), decoder)]
        shown.append(await number(await asyncio.wait_for(viewer.read(), TIMEOUT_S), decoder))
        pictures = [await asyncio.wait_for(anext(jpegs), TIMEOUT_S)]
        while pictures[-1].frame_index != 1:
            pictures.append(await asyncio.wait_for(anext(jpegs), TIMEOUT_S))
    await hub.close()
    assert shown == [0, 1]


async def test_changed_size_continues_with_a_keyframe(hub: PictureHub) -> None:
    with hub.watch("gate", View.OVERLAY, PictureCodec.VP8) as viewer:
        decoder = av.CodecContext.create("libvpx", "r")
        for index, (width, height) in enumerate([(320, 180), (641, 361), (4000, 500)]):
            reading = await joined(viewer)
            await hub.publish(frame_result(index, width=width, height=height))
            packet = await asyncio.wait_for(reading, TIMEOUT_S)
            assert packet is not None
            assert packet.is_keyframe
            assert await number(packet, decoder) == index


async def test_error_while_drawing_ends_the_viewers_not_the_daemon(
    hub: PictureHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*parts: object) -> np.ndarray:
        raise RuntimeError("cannot draw")

    monkeypatch.setattr(channel_module, "render", broken)
    with hub.watch("gate", View.OVERLAY, PictureCodec.VP8) as viewer:
        reading = await joined(viewer)
        await hub.publish(frame_result(0))
        assert await asyncio.wait_for(reading, TIMEOUT_S) is None
    assert not hub.is_encoding("gate")
    assert "cannot draw" in caplog.text


async def test_removed_stream_ends_its_viewers_and_late_frames_bring_nothing_back(
    hub: PictureHub,
) -> None:
    await hub.publish(frame_result(0))
    with (
        hub.watch("gate", View.OVERLAY, PictureCodec.VP8) as viewer,
        hub.jpegs("gate", View.OVERLAY) as reader,
    ):
        await asyncio.wait_for(viewer.read(), TIMEOUT_S)
        await hub.publish(status(state=StreamState.STOPPED))
        assert await asyncio.wait_for(viewer.read(), TIMEOUT_S) is None
        assert [each async for each in reader] == []
    await hub.publish(frame_result(1))
    with pytest.raises(NoPictureError, match="gate"):
        await hub.snapshot("gate", View.OVERLAY)
    await hub.publish(frame_result(0, session_id="anew"))
    assert await hub.snapshot("gate", View.OVERLAY)


def size_of(jpeg: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(jpeg)) as image:
        assert image.format == "JPEG"
        return image.size


async def test_snapshot_is_the_newest_frame_encoded_once_for_all(
    hub: PictureHub, encodes: Encodes
) -> None:
    with pytest.raises(NoPictureError, match="no picture yet"):
        await hub.snapshot("gate", View.OVERLAY)
    await hub.publish(frame_result(0))
    await hub.publish(frame_result(1))
    many = await asyncio.gather(*(hub.snapshot("gate", View.OVERLAY) for _ in range(8)))
    assert len(set(many)) == 1
    with Image.open(io.BytesIO(many[0])) as image:
        assert read(np.asarray(image)) == 1
    # Wider than the frame is the frame's own width.
    assert size_of(await hub.snapshot("gate", View.OVERLAY, 3000)) == (320, 180)
    assert encodes.jpeg == [(View.OVERLAY, 320)]
    assert size_of(await hub.snapshot("gate", View.CLEAN, 100)) == (100, 56)
    await hub.publish(frame_result(2))
    with Image.open(io.BytesIO(await hub.snapshot("gate", View.OVERLAY))) as image:
        assert read(np.asarray(image)) == 2


async def test_jpeg_readers_share_one_encoding_and_a_slow_one_gets_the_newest(
    hub: PictureHub, encodes: Encodes
) -> None:
    with (
        hub.jpegs("gate", View.OVERLAY) as quick,
        hub.jpegs("gate", View.OVERLAY) as slow,
    ):
        for index in range(10):
            await hub.publish(frame_result(index))
            jpeg = await asyncio.wait_for(anext(quick), TIMEOUT_S)
            with Image.open(io.BytesIO(jpeg.data)) as image:
                assert read(np.asarray(image)) == jpeg.frame_index == index
        assert len(encodes.jpeg) == 10
        assert slow.dropped == 9
        with Image.open(io.BytesIO((await anext(slow)).data)) as image:
            assert read(np.asarray(image)) == 9
    assert not hub.is_encoding("gate")


async def test_every_jpeg_reader_of_a_stream_that_rests_gets_its_last_picture(
    hub: PictureHub, encodes: Encodes
) -> None:
    with contextlib.ExitStack() as readers:
        early = readers.enter_context(hub.jpegs("gate", View.CLEAN))
        await hub.publish(frame_result(7))
        assert (await asyncio.wait_for(anext(early), TIMEOUT_S)).frame_index == 7
        for _ in range(2):
            late = readers.enter_context(hub.jpegs("gate", View.CLEAN))
            assert (await asyncio.wait_for(anext(late), TIMEOUT_S)).frame_index == 7
    assert len(encodes.jpeg) == 1


async def test_number_of_simultaneous_sizes_is_limited(hub: PictureHub) -> None:
    with contextlib.ExitStack() as readers:
        for number_ in range(JPEG_CHANNELS_PER_STREAM):
            readers.enter_context(hub.jpegs("gate", View.CLEAN, 64 + number_))
        hub.check_jpegs("gate", View.CLEAN, 64)
        with pytest.raises(PictureBusyError, match="sizes"):
            hub.check_jpegs("gate", View.CLEAN, 500)
        with pytest.raises(PictureBusyError, match="sizes"), hub.jpegs("gate", View.CLEAN, 500):
            pass
    hub.check_jpegs("gate", View.CLEAN, 500)


async def test_nobody_is_left_without_a_picture_or_without_a_size(hub: PictureHub) -> None:
    with contextlib.ExitStack() as readers:
        for number_ in range(2):
            readers.enter_context(hub.jpegs("gate", View.CLEAN, 64 + number_, "wall"))
        with pytest.raises(PictureBusyError, match="2 of them for you; ask for one of the widths"):
            hub.check_jpegs("gate", View.CLEAN, 500, "wall")
        for number_ in range(2):
            readers.enter_context(hub.jpegs("gate", View.CLEAN, 500 + number_, "me"))
        for view in View:  # all sizes are taken, and the default one is there all the same
            readers.enter_context(hub.jpegs("gate", view, None, "third"))


async def test_events_are_not_wanted(hub: PictureHub) -> None:
    assert hub.wants(frame_result(0))
    assert hub.wants(status())
    assert not hub.wants(event())


async def test_frame_result_of_another_stream_reaches_no_viewer(
    hub: PictureHub, encodes: Encodes
) -> None:
    with hub.watch("gate", View.OVERLAY, PictureCodec.VP8) as viewer:
        reading = await joined(viewer)
        other: FrameResult = frame_result(0, stream_id="yard")
        await hub.publish(other)
        assert encodes.video == []
        reading.cancel()
