"""Real viewers over UDP: received pictures, departures and rejections."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aioice.ice
import pytest

from streamer.api.server.principals import UNRESTRICTED
from streamer.api.webrtc.whep_server import WhepServer
from streamer.config.network import PictureConfig
from streamer.runtime.clock import SystemClock
from streamer.runtime.metrics import Metrics
from streamer.sinks.json_messages import JsonMasks
from streamer.sinks.video.encoder import VideoEncoder
from streamer.sinks.video.hub import PictureHub
from streamer.sinks.video.view import View
from streamer.sinks.video.viewer_track import ViewerTrack
from streamer.sinks.websocket import ResultsHub
from streamer.types import StreamState
from streamer.webrtc.http_answer import SDP
from streamer.webrtc.ice_settings import IceSettings
from streamer.webrtc.peer import Peer
from tests.integration.browser.frame_counter import read
from tests.streamer.sinks.video.scenes import frame_result
from tests.streamer.sinks.video.viewing import TIMEOUT_S, WebViewer
from tests.streamer.wire.wire_samples import status

MAXIMUM_VIEWERS = 3


@pytest.fixture(autouse=True)
def on_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """aioice leaves the loopback address out."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda **_: ["127.0.0.1"])


class Stage:
    """A hub that is given a picture 50 times a second, and the server in front of it."""

    def __init__(self, rtcp_silence_s: float = 60.0, keyframe_interval_s: float = 60.0) -> None:
        self.metrics = Metrics()
        clock = SystemClock()
        config = PictureConfig(keyframe_interval_s=keyframe_interval_s, maximum_rate_hz=60.0)
        self.hub = PictureHub(config, self.metrics, clock)
        self.results = ResultsHub(self.metrics, clock)
        self.server = WhepServer(
            self.hub,
            IceSettings(),
            maximum_viewers=MAXIMUM_VIEWERS,
            token_names=(),
            has_stream=lambda stream_id: stream_id == "gate",
            metrics=self.metrics,
            clock=clock,
            rtcp_silence_s=rtcp_silence_s,
        )
        self._feeding = asyncio.create_task(self._feed())

    async def _feed(self) -> None:
        index = 0
        while True:
            result = frame_result(index % 1024, arrival_ns=time.monotonic_ns())
            await self.results.publish(result)
            await self.hub.publish(result)
            index += 1
            await asyncio.sleep(0.02)

    def viewers(self) -> float:
        """The value of the metric."""
        value = self.metrics.registry.get_sample_value("masklet_webrtc_peers", {"kind": "viewer"})
        return value or 0.0

    async def empty(self) -> None:
        """Wait until no viewer is left."""
        async with asyncio.timeout(TIMEOUT_S):
            while len(self.server) or self.hub.is_encoding("gate"):
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        self._feeding.cancel()
        await self.server.close()
        await self.hub.close()


@contextlib.asynccontextmanager
async def staged(**settings: float) -> AsyncIterator[Stage]:
    stage = Stage(**settings)
    try:
        yield stage
    finally:
        await stage.close()


@contextlib.asynccontextmanager
async def viewer(codec: str | None = None) -> AsyncIterator[WebViewer]:
    watching = WebViewer(codec)
    try:
        yield watching
    finally:
        await watching.close()


@pytest.mark.parametrize("codec", [None, "video/VP8", "video/H264"])
async def test_pictures_move_and_each_is_found_in_the_results(codec: str | None) -> None:
    async with staged() as stage, viewer(codec) as watching:
        with stage.results.read("gate", JsonMasks.NONE) as results:
            by_rtp_time = {}

            async def collect() -> None:
                async for text in results:
                    message = json.loads(text)
                    by_rtp_time[message["rtp_time"]] = message["frame_index"]

            collecting = asyncio.create_task(collect())
            await watching.watch(stage.server)
            shown = []
            for _ in range(30):
                image, rtp_time = await watching.picture()
                assert image.shape[:2] == (180, 320)
                shown.append(read(image))
                assert by_rtp_time[rtp_time] == shown[-1]
            collecting.cancel()
        assert shown == sorted(set(shown))
        chosen = next(line for line in watching.answer_sdp.splitlines() if "a=rtpmap" in line)
        assert ("H264" in chosen) == (codec == "video/H264")
        assert stage.viewers() == 1
    assert stage.viewers() == 0


async def test_two_viewers_share_one_encoding_and_a_leaving_one_is_detected_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ticks: list[int] = []
    encode = VideoEncoder.encode
    monkeypatch.setattr(
        VideoEncoder, "encode", lambda self, image, at: ticks.append(at) or encode(self, image, at)
    )
    async with staged() as stage:
        async with viewer() as first, viewer() as second:
            for each in (first, second):
                await each.watch(stage.server)
            for _ in range(10):
                await first.picture()
                await second.picture()
            assert len(ticks) == len(set(ticks))
            assert stage.viewers() == 2
        await stage.empty()
        count = len(ticks)
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(ticks) == count
        assert stage.viewers() == 0


async def test_picture_loss_gives_a_keyframe(monkeypatch: pytest.MonkeyPatch) -> None:
    keyframes = 0
    encode = VideoEncoder.encode

    def counting(self: VideoEncoder, image: object, at: int) -> object:
        nonlocal keyframes
        packets = encode(self, image, at)
        keyframes += sum(packet.is_keyframe for packet in packets)
        return packets

    monkeypatch.setattr(VideoEncoder, "encode", counting)
    async with staged() as stage, viewer() as watching:
        await watching.watch(stage.server)
        await watching.picture()
        before = keyframes
        await watching.request_keyframe()
        async with asyncio.timeout(TIMEOUT_S):
            while keyframes == before:
                await watching.picture()


async def test_clean_view_has_nothing_drawn_in() -> None:
    async with staged() as stage, viewer() as drawn, viewer() as clean:
        await drawn.watch(stage.server)
        await clean.watch(stage.server, view=View.CLEAN)
        with_masks, _ = await drawn.picture()
        without, _ = await clean.picture()
    below_the_number = slice(20, 180)
    assert with_masks[below_the_number].max(axis=(0, 1))[0] > 150  # orange
    assert without[below_the_number].max(axis=(0, 1))[0] < 120


async def test_delete_ends_a_session_once() -> None:
    async with staged() as stage, viewer() as watching:
        await watching.watch(stage.server)
        await watching.picture()
        assert (await stage.server.delete(watching.session_id)).status == 200
        await watching.wait_for_end()
        await stage.empty()
        assert (await stage.server.delete(watching.session_id)).status == 404
        assert (await stage.server.patch(watching.session_id, b"", None, "*")).status == 404


async def test_viewer_that_reports_nothing_is_gone() -> None:
    async with staged(rtcp_silence_s=1.0) as stage, viewer() as watching:
        await watching.watch(stage.server)
        await watching.picture()
        watching.stop_reporting()
        await stage.empty()
        assert stage.viewers() == 0


async def test_reports_of_a_viewer_are_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = asyncio.Event()
    heard_of = ViewerTrack.heard_of
    monkeypatch.setattr(ViewerTrack, "heard_of", lambda self: heard.set() or heard_of(self))
    async with staged() as stage, viewer() as watching:
        await watching.watch(stage.server)
        async with asyncio.timeout(TIMEOUT_S):
            while not heard.is_set():
                await watching.picture()


async def test_removed_stream_ends_its_viewers() -> None:
    async with staged() as stage, viewer() as watching:
        await watching.watch(stage.server)
        await watching.picture()
        stage._feeding.cancel()
        await stage.hub.publish(status(state=StreamState.STOPPED))
        await watching.wait_for_end()
        await stage.empty()


async def test_number_of_viewers_is_limited_until_one_leaves() -> None:
    async with staged() as stage:
        watching = [WebViewer() for _ in range(MAXIMUM_VIEWERS + 1)]
        try:
            for each in watching[:-1]:
                await each.watch(stage.server)
            refused = await stage.server.post("gate", await watching[-1].offer(), SDP, UNRESTRICTED)
            assert refused.status == 503
            assert dict(refused.headers)["Retry-After"]
            assert "webrtc.viewers" in (refused.detail or "")
            await stage.server.delete(watching[0].session_id)
            await watching[-1].watch(stage.server)
        finally:
            await asyncio.gather(*(each.close() for each in watching))


async def test_misuse_is_refused_with_its_status() -> None:
    async with staged() as stage, viewer() as watching:
        offer = await watching.offer()
        cases = [
            ("yard", offer, SDP, 404),
            ("gate", offer, "text/plain", 415),
            ("gate", offer, None, 415),
            ("gate", b"no sdp", SDP, 400),
            ("gate", b"v=0\r\n" + b"a=x\r\n" * 20_000, SDP, 413),
            ("gate", offer.replace(b"a=recvonly", b"a=sendonly"), SDP, 422),
            ("gate", offer.replace(b"VP8", b"XX8").replace(b"H264", b"XXXX"), SDP, 422),
        ]
        for stream_id, body, content_type, expected in cases:
            answer = await stage.server.post(stream_id, body, content_type, UNRESTRICTED)
            assert answer.status == expected, (content_type, body[:40])
            assert answer.detail
        assert len(stage.server) == 0


async def test_session_url_and_entity_tag() -> None:
    async with staged() as stage, viewer() as watching:
        answer = await watching.watch(stage.server)
        headers = dict(answer.headers)
        assert headers["Content-Type"] == SDP
        assert headers["Location"].startswith("../../whep/")
        assert len(watching.session_id) >= 22
        assert headers["ETag"].startswith('"')
        fragment = "application/trickle-ice-sdpfrag"
        assert (await stage.server.patch(watching.session_id, b"", fragment, None)).status == 428
        assert (
            await stage.server.patch(watching.session_id, b"", fragment, '"other"')
        ).status == 412
        assert (await stage.server.patch(watching.session_id, b"", SDP, "*")).status == 415


async def test_close_ends_every_session() -> None:
    async with staged() as stage, viewer() as watching:
        await watching.watch(stage.server)
        await watching.picture()
        await stage.server.close()
        await watching.wait_for_end()
        assert len(stage.server) == 0


async def test_session_that_begins_while_the_server_closes_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = Peer.answer
    async with staged() as stage, viewer() as watching:

        async def answer_too_late(self: Peer, *arguments: Any) -> str:
            answered = await answer(self, *arguments)
            await stage.server.close()
            return answered

        monkeypatch.setattr(Peer, "answer", answer_too_late)
        assert (
            await stage.server.post("gate", await watching.offer(), SDP, UNRESTRICTED)
        ).status == 503
        assert len(stage.server) == 0
        assert not stage.hub.is_encoding("gate")
