"""aiortc as the other side of WHIP (RFC 9725) and WHEP: a camera, and a viewer that reads it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction
from urllib.parse import urljoin

import av
from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
    VideoStreamTrack,
)
from aiortc.mediastreams import MediaStreamError

from tests.integration.browser.frame_counter import read
from tests.integration.browser.scene import Scene
from tests.integration.webrtc.http_client import Answer, HttpClient

CLOCK_HZ = 90_000
RTP_MODULUS = 1 << 32


def pictures_of(scene: Scene) -> list[av.VideoFrame]:
    """The scene's clip, ready to be encoded."""
    return [
        av.VideoFrame.from_ndarray(scene.picture(number), format="rgb24").reformat(format="yuv420p")
        for number in range(scene.length)
    ]


class Camera(VideoStreamTrack):
    """Plays numbered pictures for ever; ``sent`` holds the capture time of each, in Unix time."""

    def __init__(self, pictures: Sequence[av.VideoFrame], rate_hz: int) -> None:
        super().__init__()
        self._pictures, self._rate_hz = pictures, rate_hz
        self._index = 0
        self._begun_s: float | None = None
        # (number, nanoseconds) of every picture; as long as the test.
        self.sent: list[tuple[int, int]] = []

    async def recv(self) -> av.VideoFrame:
        """The next picture, when it is due."""
        if self.readyState != "live":
            raise MediaStreamError
        if self._begun_s is None:
            self._begun_s = time.monotonic()
        due_s = self._begun_s + self._index / self._rate_hz
        await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        number = self._index % len(self._pictures)
        picture = self._pictures[number]
        picture.pts = self._index * CLOCK_HZ // self._rate_hz
        picture.time_base = Fraction(1, CLOCK_HZ)
        self.sent.append((number, time.time_ns()))
        self._index += 1
        return picture


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture that a viewer decoded: the number in it, its RTP time, and when it came."""

    number: int | None
    rtp_time: int
    width: int
    height: int
    time_ns: int


@dataclass(frozen=True, slots=True)
class Session:
    """One WHIP or WHEP session of ours."""

    connection: RTCPeerConnection
    http: HttpClient
    path: str
    answer: Answer

    @property
    def location(self) -> str:
        """The session URL returned by the server."""
        return urljoin(self.path, self.answer.headers["Location"])

    async def delete(self) -> int:
        """End it as the protocol has it; the status of the answer."""
        return (await asyncio.to_thread(self.http.call, "DELETE", self.location)).status

    async def pictures(self) -> AsyncIterator[Seen]:
        """What a viewer's session shows, until it ends."""
        (receiver,) = self.connection.getReceivers()
        while True:
            try:
                picture = await receiver.track.recv()
            except MediaStreamError:
                return
            assert isinstance(picture, av.VideoFrame)
            assert picture.pts is not None
            number = read(picture.to_ndarray(format="rgb24"))
            # aiortc counts from the first picture, and has no name for where it began.
            origin = receiver._RTCRtpReceiver__timestamp_mapper._origin  # type: ignore[attr-defined]
            rtp_time = (picture.pts + origin) % RTP_MODULUS
            yield Seen(number, rtp_time, picture.width, picture.height, time.time_ns())


@asynccontextmanager
async def publishing(
    http: HttpClient, stream_id: str, camera: MediaStreamTrack, codec: str = "video/VP8"
) -> AsyncIterator[Session]:
    """Publish ``camera`` by WHIP; at the end the connection closes, and nothing is deleted."""
    connection = _connection()
    transceiver = connection.addTransceiver(camera, direction="sendonly")
    _prefer(transceiver, codec)
    async with _negotiated(connection, http, f"/v1/streams/{stream_id}/whip") as session:
        yield session


@asynccontextmanager
async def watching(
    http: HttpClient, stream_id: str, view: str = "clean", codec: str = "video/VP8"
) -> AsyncIterator[Session]:
    """Watch a stream by WHEP; ``Session.pictures`` must be read, aiortc keeps them all."""
    connection = _connection()
    transceiver = connection.addTransceiver("video", direction="recvonly")
    _prefer(transceiver, codec)
    path = f"/v1/streams/{stream_id}/whep?view={view}"
    async with _negotiated(connection, http, path) as session:
        yield session


def _connection() -> RTCPeerConnection:
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))


def _prefer(transceiver: object, codec: str) -> None:
    """Offer one codec and its retransmissions, before anything is described."""
    offered = RTCRtpSender.getCapabilities("video").codecs
    transceiver.setCodecPreferences(  # type: ignore[attr-defined]
        [each for each in offered if each.mimeType in {codec, "video/rtx"}]
    )


@asynccontextmanager
async def _negotiated(
    connection: RTCPeerConnection, http: HttpClient, path: str
) -> AsyncIterator[Session]:
    try:
        # aiortc gathers every candidate before the offer is complete: nothing trickles.
        await connection.setLocalDescription(await connection.createOffer())
        offer = connection.localDescription.sdp.encode()
        answer = await asyncio.to_thread(
            http.call, "POST", path, offer, content_type="application/sdp"
        )
        assert answer.status == 201, (answer.status, answer.body)
        await connection.setRemoteDescription(RTCSessionDescription(answer.body.decode(), "answer"))
        yield Session(connection, http, path, answer)
    finally:
        await connection.close()
