"""A real WebRTC viewer: aiortc, over UDP on this machine."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import numpy.typing as npt
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

from streamer.api.server.principals import UNRESTRICTED
from streamer.api.webrtc.whep_server import RTP_OFFSET_HEADER, WhepServer
from streamer.sinks.video.view import View
from streamer.webrtc.http_answer import SDP, HttpAnswer

TIMEOUT_S = 20.0


class WebViewer:
    """One viewer. ``watch``, then ``picture`` again and again; ``close`` at the end."""

    def __init__(self, codec: str | None = None) -> None:
        """``codec`` is ``video/VP8`` or ``video/H264``; with None, aiortc offers all it has."""
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._transceiver = self._connection.addTransceiver("video", direction="recvonly")
        if codec is not None:
            known = RTCRtpReceiver.getCapabilities("video").codecs
            self._transceiver.setCodecPreferences([c for c in known if c.mimeType == codec])
        self.rtp_offset = 0
        self.session_id = ""
        self.answer_sdp = ""
        # What of the first RTP timestamp is known; aiortc hides it and counts from 0.
        self._first_timestamp: int | None = None
        self._note_first_timestamp()

    async def offer(self) -> bytes:
        """The offer, with all candidates."""
        await self._connection.setLocalDescription(await self._connection.createOffer())
        return self._connection.localDescription.sdp.encode()

    async def watch(
        self, server: WhepServer, stream_id: str = "gate", view: View = View.OVERLAY
    ) -> HttpAnswer:
        """Post an offer and take the answer."""
        answer = await server.post(stream_id, await self.offer(), SDP, UNRESTRICTED, view)
        assert answer.status == 201, answer.detail
        headers = dict(answer.headers)
        await self.accept(answer.body.decode(), int(headers[RTP_OFFSET_HEADER]))
        self.session_id = headers["Location"].rsplit("/", 1)[-1]
        return answer

    async def accept(self, sdp: str, rtp_offset: int) -> None:
        """Take the answer; media follow."""
        self.answer_sdp = sdp
        self.rtp_offset = rtp_offset
        await self._connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))

    async def picture(self) -> tuple[npt.NDArray[np.uint8], int]:
        """The next picture, and the ``rtp_time`` that its RTP timestamp stands for."""
        async with asyncio.timeout(TIMEOUT_S):
            frame: Any = await self._transceiver.receiver.track.recv()
        assert self._first_timestamp is not None
        timestamp = self._first_timestamp + frame.pts
        return frame.to_ndarray(format="rgb24"), (timestamp - self.rtp_offset) % 2**32

    async def wait_for_end(self) -> None:
        """Until the server ended the session."""
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                try:
                    await self._transceiver.receiver.track.recv()
                except MediaStreamError:
                    return

    async def request_keyframe(self) -> None:
        """Send a picture loss indication (PLI, RFC 4585)."""
        receiver = self._transceiver.receiver
        (source,) = receiver.getSynchronizationSources()
        await receiver._send_rtcp_pli(source.source)

    def stop_reporting(self) -> None:
        """Stop sending RTCP, like a viewer with a broken return path."""

        async def silent(*_: Any) -> None:
            return

        receiver = self._transceiver.receiver
        receiver._send_rtcp = silent
        receiver._RTCRtpReceiver__rtcp_task.cancel()

    async def close(self) -> None:
        """Leave."""
        await self._connection.close()

    def _note_first_timestamp(self) -> None:
        receiver = self._transceiver.receiver
        handle = receiver._handle_rtp_packet

        async def note(packet: Any, **options: Any) -> None:
            if self._first_timestamp is None and packet.payload:
                self._first_timestamp = packet.timestamp
            await handle(packet, **options)

        receiver._handle_rtp_packet = note
