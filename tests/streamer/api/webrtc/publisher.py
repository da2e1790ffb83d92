"""aiortc as a publisher, over real UDP, against the WHIP protocol without a web server."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
)

from streamer.api.server.principals import UNRESTRICTED, Principal
from streamer.api.webrtc.whip import Whip
from streamer.webrtc.http_answer import SDP, HttpAnswer
from tests.streamer.webrtc.numbered_scene import NumberedTrack


class Publisher:
    """One publisher of a numbered scene. Leaving ``async with`` closes it, without a DELETE."""

    def __init__(
        self,
        whip: Whip,
        stream_id: str = "cam1",
        *,
        codec: str | None = None,
        track: MediaStreamTrack | None = None,
        with_audio: bool = False,
        with_data: bool = False,
        principal: Principal = UNRESTRICTED,
    ) -> None:
        self.whip = whip
        self.stream_id = stream_id
        self.principal = principal
        self.track = track or NumberedTrack()
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        if with_audio:
            self.connection.addTransceiver("audio", direction="sendonly")
        transceiver = self.connection.addTransceiver(self.track, direction="sendonly")
        if codec is not None:
            capabilities = RTCRtpSender.getCapabilities("video").codecs
            wanted = (f"video/{codec}", "video/rtx")
            transceiver.setCodecPreferences([c for c in capabilities if c.mimeType in wanted])
        if with_data:
            self.connection.createDataChannel("chat")
        self.posted: HttpAnswer | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.connection.close()
        self.track.stop()

    @property
    def session_id(self) -> str:
        """What the server called this session."""
        return self.header("Location").rpartition("/")[2]

    def header(self, name: str) -> str:
        """A header field of the answer to the POST."""
        assert self.posted is not None
        return dict(self.posted.headers)[name]

    async def offer(self) -> bytes:
        """Our offer with all candidates."""
        await self.connection.setLocalDescription()
        return self.connection.localDescription.sdp.encode()

    async def post(self) -> HttpAnswer:
        """POST the offer, without taking the answer."""
        self.posted = await self.whip.post(self.stream_id, await self.offer(), SDP, self.principal)
        return self.posted

    async def publish(self) -> Self:
        """POST, and take the answer, which must be 201."""
        answer = await self.post()
        assert answer.status == 201, answer
        return await self.accept_posted()

    async def accept_posted(self) -> Self:
        """Take the answer to the POST."""
        assert self.posted is not None
        await self.connection.setRemoteDescription(
            RTCSessionDescription(self.posted.body.decode(), "answer")
        )
        return self

    async def vanish(self) -> None:
        """Be gone like a killed process: not a packet more, and no farewell."""
        transport = self.connection.getTransceivers()[-1].sender.transport.transport
        for protocol in list(transport._connection._protocols):
            protocol.transport.abort()
        self.track.stop()
