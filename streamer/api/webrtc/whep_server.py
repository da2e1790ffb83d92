"""The WHEP server (draft-ietf-wish-whep): browsers and others watch a stream over WebRTC.

Framework-free: requests come in as values, answers go out as ``HttpAnswer``.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import secrets
from collections.abc import Callable, Collection
from contextlib import ExitStack

from streamer.api.server.principals import Principal
from streamer.errors import BusyError
from streamer.runtime.clock import Clock
from streamer.runtime.metrics import Metrics
from streamer.runtime.shares import Shares
from streamer.sinks.video.encoder import PictureCodec
from streamer.sinks.video.hub import PictureHub
from streamer.sinks.video.video_channel import Viewer
from streamer.sinks.video.view import View
from streamer.sinks.video.viewer_track import ViewerTrack
from streamer.webrtc.aiortc_patches import (
    limit_retransmissions,
    on_keyframe_request,
    on_rtcp,
    set_rtp_offset,
)
from streamer.webrtc.http_answer import SDP, HttpAnswer, later, media_type, refusal
from streamer.webrtc.ice_settings import IceSettings
from streamer.webrtc.offer import Offer, read_viewing_offer
from streamer.webrtc.peer import CONNECT_TIMEOUT_S, Peer, PeerError
from streamer.webrtc.peer_session import PeerSession
from streamer.webrtc.session_description import MAXIMUM_BYTES, SdpError

RTP_OFFSET_HEADER = "Masklet-RTP-Offset"
# A receiver reports at least every five seconds (RFC 3550, section 6.2). ICE consent (RFC 7675)
# notices the same after 30 s.
RTCP_SILENCE_S = 10.0
_CHECK_INTERVAL_S = 1.0
# What the kernel has not taken yet; asyncio keeps it without bound. Half a second at 4 Mb/s.
CONGESTED_BYTES = 262_144
_RETRY_AFTER_S = 5
_log = logging.getLogger(__name__)


class WhepServer:
    """Sessions of viewers. Bound: ``maximum_viewers``, shared among the tokens; policy: a further
    one is refused (503).

    The end of a viewer is noticed by DELETE, by the end of DTLS, by ``RTCP_SILENCE_S`` without
    a report on what it is sent, or by ICE consent. A session ends with the login it was begun with.
    """

    def __init__(
        self,
        hub: PictureHub,
        settings: IceSettings,
        *,
        maximum_viewers: int,
        token_names: Collection[str],
        has_stream: Callable[[str], bool],
        metrics: Metrics,
        clock: Clock,
        rtcp_silence_s: float = RTCP_SILENCE_S,
    ) -> None:
        """``token_names`` are those that may watch."""
        self._hub = hub
        self._settings = settings
        self._shares = Shares(maximum_viewers, token_names, "viewers (webrtc.viewers)")
        self._has_stream = has_stream
        self._viewers = metrics.webrtc_peers.labels("viewer")
        self._clock = clock
        self._rtcp_silence_s = rtcp_silence_s
        self._sessions: dict[str, _Session] = {}
        self._closing = False

    async def post(
        self,
        stream_id: str,
        body: bytes,
        content_type: str | None,
        viewer: Principal,
        view: View = View.OVERLAY,
    ) -> HttpAnswer:
        """Answer an offer to watch: 201 with the answer, the session's URL and the RTP offset."""
        if not self._has_stream(stream_id):
            return refusal(404, f"there is no stream {stream_id!r}", "unknown_stream")
        if media_type(content_type) != SDP:
            return refusal(415, f"the body must be an offer of type {SDP}")
        if len(body) > MAXIMUM_BYTES:
            return refusal(413, f"an offer must not be longer than {MAXIMUM_BYTES} bytes")
        try:
            offer = read_viewing_offer(body)
        except SdpError as error:
            return refusal(error.status, str(error))
        try:
            return await self._begin(stream_id, offer, view, viewer)
        except BusyError as error:
            return later(str(error), _RETRY_AFTER_S)
        except SdpError as error:
            return refusal(error.status, str(error))
        except PeerError as error:
            return later(f"no connection can be made: {error}", _RETRY_AFTER_S)

    def stream_of(self, session_id: str) -> str | None:
        """The stream that a session watches; None for an unknown session."""
        session = self._sessions.get(session_id)
        return None if session is None else session.signalling.stream_id

    async def patch(
        self, session_id: str, body: bytes, content_type: str | None, if_match: str | None
    ) -> HttpAnswer:
        """Further candidates, or an ICE restart."""
        session = self._sessions.get(session_id)
        if session is None:
            return _unknown_session()
        return await session.signalling.patch(body, content_type, if_match)

    async def delete(self, session_id: str) -> HttpAnswer:
        """End a session."""
        session = self._sessions.get(session_id)
        if session is None:
            return _unknown_session()
        session.end()
        await asyncio.wait({session.task})
        return HttpAnswer(200)

    def __len__(self) -> int:
        return len(self._sessions)

    async def close(self) -> None:
        """End every session, and begin no further one."""
        self._closing = True
        tasks = {session.task for session in self._sessions.values()}
        for session in self._sessions.values():
            session.end()
        if tasks:
            await asyncio.wait(tasks)

    async def _begin(
        self, stream_id: str, offer: Offer, view: View, principal: Principal
    ) -> HttpAnswer:
        codec = PictureCodec(offer.video.codecs[0].name.lower())
        with ExitStack() as stack:
            stack.enter_context(self._shares.hold(principal.name))
            viewer = stack.enter_context(self._hub.watch(stream_id, view, codec))
            track = ViewerTrack(viewer, self._clock)
            peer = Peer(self._settings, track, "sendonly")
            sender = peer.transceiver.sender
            offset = secrets.randbits(32)
            set_rtp_offset(sender, offset)
            on_keyframe_request(sender, viewer.request_keyframe)
            on_rtcp(sender, track.heard_of)
            limit_retransmissions(sender, self._clock)
            viewer.is_congested = lambda: peer.waiting_bytes > CONGESTED_BYTES
            try:
                answer = await peer.answer(offer)
                if self._closing:
                    raise PeerError("the daemon stops")
                stack.enter_context(principal.closing(peer.ended.set))
            except BaseException:
                await peer.close()
                raise
            signalling = PeerSession(stream_id, peer, offer.video)
            session = _Session(
                signalling, peer, viewer, track, stack.pop_all(), self._rtcp_silence_s
            )
        session_id = signalling.session_id
        self._sessions[session_id] = session
        self._viewers.set(len(self._sessions))
        session.task.add_done_callback(lambda _: self._ended(session_id))
        created = signalling.created(answer, f"../../whep/{session_id}", self._settings.links)
        _log.info("%s: a viewer connects (%s, %s)", stream_id, view, codec)
        return dataclasses.replace(
            created, headers=(*created.headers, (RTP_OFFSET_HEADER, str(offset)))
        )

    def _ended(self, session_id: str) -> None:
        session = self._sessions.pop(session_id)
        self._viewers.set(len(self._sessions))
        if not session.task.cancelled() and (error := session.task.exception()) is not None:
            _log.error("a viewer's session failed", exc_info=error)


class _Session:
    """One viewer from its answer to its end."""

    def __init__(
        self,
        signalling: PeerSession,
        peer: Peer,
        viewer: Viewer,
        track: ViewerTrack,
        resources: ExitStack,
        rtcp_silence_s: float,
    ) -> None:
        self.signalling = signalling
        self._peer = peer
        self._viewer = viewer
        self._track = track
        self._resources = resources
        self._rtcp_silence_s = rtcp_silence_s
        self.task = asyncio.create_task(self._run(), name=f"whep-{signalling.stream_id}")

    def end(self) -> None:
        """Let ``task`` end soon."""
        self._peer.ended.set()

    async def _run(self) -> None:
        with self._resources:
            try:
                reason = await self._watch()
            finally:
                await self._peer.close()
        _log.info(
            "%s: a viewer has ended: %s; %d pictures were not sent to it",
            self.signalling.stream_id,
            reason,
            self._viewer.dropped,
        )

    async def _watch(self) -> str:
        """Why the session ended."""
        ended = asyncio.create_task(self._peer.ended.wait())
        stopped = asyncio.create_task(self._viewer.closed.wait())
        connected = asyncio.create_task(self._peer.connected.wait())
        try:
            await asyncio.wait(
                {ended, stopped, connected},
                timeout=CONNECT_TIMEOUT_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not (ended.done() or stopped.done() or connected.done()):
                return f"not connected within {CONNECT_TIMEOUT_S:.0f} s"
            while not (ended.done() or stopped.done()):
                await asyncio.wait(
                    {ended, stopped},
                    timeout=_CHECK_INTERVAL_S,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if self._track.unheard_s() > self._rtcp_silence_s:
                    return f"no report for {self._rtcp_silence_s:g} s on what it was sent"
            return "the stream ended" if stopped.done() else "it left"
        finally:
            for task in (ended, stopped, connected):
                task.cancel()


def _unknown_session() -> HttpAnswer:
    return refusal(404, "no such session; it may have ended", "unknown_session")
