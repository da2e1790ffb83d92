"""One WebRTC peer connection, as WHIP, the WHEP server and the WHEP client make them.

aiortc does DTLS, SRTP and RTCP; the ICE agent is our own (``IceConnection``). Only configured
servers are contacted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from typing import Any

from aiortc import (
    MediaStreamTrack,
    RTCConfiguration,
    RTCIceCandidate,
    RTCPeerConnection,
    RTCRtpTransceiver,
    RTCSessionDescription,
)
from aiortc.exceptions import InternalError, InvalidAccessError, InvalidStateError, OperationError
from aiortc.rtcicetransport import candidate_from_aioice, candidate_to_aioice

from streamer.webrtc.aiortc_patches import (
    begin_no_media_after,
    limit_sources,
    take_over_receiver,
    use_agent,
)
from streamer.webrtc.encoded_feed import EncodedFeed
from streamer.webrtc.frame_assembler import FrameAssembler
from streamer.webrtc.ice_connection import IceConnection
from streamer.webrtc.ice_settings import IceSettings
from streamer.webrtc.offer import BitrateLimits, Offer
from streamer.webrtc.remote_video import IceCredentials, RemoteVideo, read_remote_video
from streamer.webrtc.session_description import SdpError, read_description

CONNECT_TIMEOUT_S = 15.0
_CLOSE_TIMEOUT_S = 3.0
# What aiortc raises for a description that it cannot use.
_LIBRARY_ERRORS = (
    ValueError, AssertionError, InternalError, InvalidAccessError, InvalidStateError,
    OperationError,
)  # fmt: skip
_logger = logging.getLogger(__name__)


class PeerError(Exception):
    """A connection could not be set up here; the message is for the operator."""


class Peer:
    """A connection with one video, in one direction. Used on one event loop.

    ``connected`` is set once media can flow, ``ended`` once they cannot any more. Closing is
    bounded and may be repeated. Bound on background tasks: one for each candidate.
    """

    def __init__(self, settings: IceSettings, video: str | MediaStreamTrack, direction: str):
        """``video`` is a track to send, or ``"video"``; ``direction`` as in SDP."""
        self.connected = asyncio.Event()
        self.ended = asyncio.Event()
        # The list of servers is given to our own agent: aiortc's default would ask a public one.
        self._connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connection.on("connectionstatechange", self._connection_state_changed)
        self.transceiver: RTCRtpTransceiver = self._connection.addTransceiver(
            video, direction=direction
        )
        self._ice = IceConnection(settings.addressing, **settings.server_options)
        use_agent(self.transceiver, self._ice)
        begin_no_media_after(self.ended, self.transceiver)
        limit_sources(self.transceiver.receiver.transport)
        self._tasks: set[asyncio.Task[None]] = set()
        self._assembler: FrameAssembler | None = None

    @property
    def state(self) -> str:
        """``new``, ``connecting``, ``connected``, ``failed`` or ``closed``."""
        return str(self._connection.connectionState)

    @property
    def last_media_monotonic_ns(self) -> int | None:
        """When the last packet of a received video arrived; None before the first."""
        return self._assembler.last_media_monotonic_ns if self._assembler else None

    async def answer(self, offer: Offer, bitrate: BitrateLimits | None = None) -> str:
        """Our answer to ``offer``; candidates in it are tried in the background.

        Raises ``SdpError`` (422) for what aiortc refuses, ``PeerError`` without a UDP port.
        """
        await self._set_remote(offer.video, "offer")
        await self._set_local()
        self.add_candidates(offer.video.candidates)
        return offer.answer(self._connection.localDescription.sdp, bitrate)

    async def offer(self) -> str:
        """Our offer, with all our candidates. Raises ``PeerError`` without a UDP port."""
        await self._set_local()
        return str(self._connection.localDescription.sdp)

    async def accept(self, body: bytes, feed: EncodedFeed) -> None:
        """Take the answer to ``offer``; the video goes into ``feed``.

        Raises ``SdpError`` for an answer that cannot be used.
        """
        description = read_description(body)
        sections = description.sections
        if len(sections) != 1 or sections[0].kind != "video" or sections[0].is_rejected:
            raise SdpError(422, "the answer must have one video section, and take it")
        remote = read_remote_video(description, sections[0])
        if remote.direction not in ("sendonly", "sendrecv"):
            raise SdpError(422, f"the answer is {remote.direction}: no video will be sent")
        if remote.setup == "actpass":
            raise SdpError(422, "the answer must choose a=setup:active or a=setup:passive")
        self.receive_into(feed, remote)
        await self._set_remote(remote, "answer")
        self.add_candidates(remote.candidates)

    def receive_into(self, feed: EncodedFeed, remote: RemoteVideo) -> None:
        """Put the received pictures into ``feed``; before the description is applied."""
        names = {codec.payload_type: codec.name for codec in remote.codecs}
        for codec in remote.codecs:
            if codec.name == "H264":
                feed.parameter_sets = codec.parameter_sets
        self._assembler = FrameAssembler(names, feed.put, feed.count_missed)
        take_over_receiver(self.transceiver.receiver, self._assembler, feed.clock)

    @property
    def waiting_bytes(self) -> int:
        """Bytes waiting in this process to be sent over the socket."""
        return self._ice.waiting_bytes

    def request_keyframe(self) -> None:
        """Ask the sender for a keyframe, and again until it comes."""
        if self._assembler is not None:
            self._assembler.request_keyframe()

    def add_candidates(self, candidates: Sequence[RTCIceCandidate]) -> None:
        """Try further addresses of the other side.

        In the background: the name a browser gives instead of its address takes up to a second
        to be resolved on the local network. Our agent gets no end-of-candidates: it would give
        up, although the other side may reach us from an address that it did not signal.
        """
        for candidate in candidates:
            self._in_background(self._add_candidate(candidate))

    @property
    def local_candidates(self) -> list[RTCIceCandidate]:
        """Our addresses."""
        return [candidate_from_aioice(each) for each in self._ice.local_candidates]

    async def restart_ice(self, remote: IceCredentials) -> IceCredentials:
        """Search for a new path (RFC 8445, section 9) while media continue over the old one.

        Returns our new credentials; the other side's candidates are added as usual. A search
        that finds no path within ``CONNECT_TIMEOUT_S`` ends the peer. Raises ``PeerError``
        before there is a path.
        """
        if not self._ice.is_established or self.ended.is_set():
            raise PeerError("there is no connection yet that could be restarted")
        await self._ice.begin_restart(remote.ufrag, remote.password)
        self._in_background(self._reconnect())
        return IceCredentials(self._ice.local_username, self._ice.local_password)

    async def close(self) -> None:
        """End the connection and free its sockets."""
        self.ended.set()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        # aiortc closes the agent only if it was started.
        for part in (self._connection, self._ice):
            try:
                async with asyncio.timeout(_CLOSE_TIMEOUT_S / 2):
                    await part.close()
            except TimeoutError:  # such as a TURN server that stopped answering
                _logger.warning(
                    "a peer connection did not close within %.1f s", _CLOSE_TIMEOUT_S / 2
                )

    async def _add_candidate(self, candidate: RTCIceCandidate) -> None:
        try:
            await self._ice.add_remote_candidate(candidate_to_aioice(candidate))
        except OSError as error:  # a name, and no multicast on this machine
            _logger.info("an address of a peer is not looked up: %s", error)

    async def _set_remote(self, remote: RemoteVideo, kind: str) -> None:
        try:
            await self._connection.setRemoteDescription(
                RTCSessionDescription(remote.description(), kind)
            )
        except _LIBRARY_ERRORS as error:
            raise SdpError(422, f"the {kind} cannot be used: {error}") from error

    async def _set_local(self) -> None:
        try:
            await self._connection.setLocalDescription()
        except OSError as error:
            raise PeerError(str(error)) from error

    async def _reconnect(self) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self._ice.connect()
        except (ConnectionError, TimeoutError):
            self.ended.set()
            return
        self._ice.end_restart()

    def _connection_state_changed(self) -> None:
        if self.state == "connected":
            self.connected.set()
        elif self.state in ("failed", "closed"):
            self.ended.set()

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
