"""The WHIP sessions, and the way of their pictures to the streams' sources.

peer ── FrameAssembler ──► EncodedFeed ──► PublisherSlot ──► WhipSource (the stream's own thread)
        event loop         bounded         newest
                                           session
"""

from __future__ import annotations

import asyncio
import threading
from weakref import WeakValueDictionary

from streamer.api.webrtc.publishing_session import PublishingSession
from streamer.config.network import WebRTCConfig
from streamer.config.streams import StreamConfig
from streamer.errors import SourceFailure
from streamer.runtime.metrics import Metrics
from streamer.sources.base import Source
from streamer.sources.whip import WhipSource, is_published
from streamer.streams.stream import MakeSource
from streamer.webrtc.encoded_feed import FeedEnd
from streamer.webrtc.ice_settings import ice_settings
from streamer.webrtc.offer import BitrateLimits, Offer
from streamer.webrtc.peer import CONNECT_TIMEOUT_S, Peer
from streamer.webrtc.publisher_slot import PublisherSlot

# A publisher that sent nothing for this long has probably gone without DELETE, and the next one
# is most likely the same: it takes the stream over without waiting for media_timeout_s.
TAKEOVER_AFTER_S = 2.0


class StreamTakenError(Exception):
    """The stream has a publisher."""


class TooManyPublishersError(Exception):
    """``webrtc.publishers`` sessions exist already."""


class StreamGoneError(Exception):
    """The stream was removed, or the daemon stops, while the connection was set up."""


class _Beginning:
    """A session whose connection is being set up; it may be obsolete before that is done."""

    is_wanted = True


class Publishers:
    """All WHIP sessions. Used on the event loop, except ``source``.

    Bounds: ``webrtc.publishers`` sessions, one a stream. A session ends when its publisher
    deletes it, is not connected in time, or sends no media for ``webrtc.media_timeout_s``.
    """

    def __init__(self, config: WebRTCConfig, metrics: Metrics) -> None:
        """Raises ``ConfigError`` for ICE servers that cannot be used."""
        self.ice_settings = ice_settings(config)
        self._config = config
        self._peers = metrics.webrtc_peers.labels("publisher")
        self._sessions: dict[str, PublishingSession] = {}
        self._by_stream: dict[str, PublishingSession | _Beginning] = {}
        # A slot lives as long as its stream's source or a session holds it.
        self._slots: WeakValueDictionary[str, PublisherSlot] = WeakValueDictionary()
        self._slots_lock = threading.Lock()

    def source(self, stream_id: str, config: StreamConfig) -> WhipSource:
        """The source for one attempt of a ``whip://`` stream."""
        return WhipSource(stream_id, self._slot(stream_id), config.open_timeout_s)

    def among(self, make_source: MakeSource) -> MakeSource:
        """``make_source``, with the sources of ``whip://`` added."""

        def make(stream_id: str, config: StreamConfig) -> Source:
            if is_published(config):
                return self.source(stream_id, config)
            return make_source(stream_id, config)

        return make

    def session(self, session_id: str) -> PublishingSession | None:
        """The session with this id, or None."""
        return self._sessions.get(session_id)

    @property
    def is_full(self) -> bool:
        """Whether ``webrtc.publishers`` sessions exist."""
        return len(self._by_stream) >= self._config.publishers

    async def publish(
        self, stream_id: str, offer: Offer, clock_tolerance_s: float
    ) -> tuple[PublishingSession, str]:
        """Begin a session: the session and our answer.

        Raises ``StreamTakenError``, ``TooManyPublishersError``, ``StreamGoneError``, ``SdpError``
        or ``PeerError``.
        """
        await self._make_way(stream_id)
        if self.is_full:
            raise TooManyPublishersError
        beginning = self._by_stream[stream_id] = _Beginning()
        try:
            session, answer = await self._begin(stream_id, offer, clock_tolerance_s)
            if not beginning.is_wanted:
                await session.peer.close()
                raise StreamGoneError
        except BaseException:
            del self._by_stream[stream_id]
            raise
        self._by_stream[stream_id] = session
        self._sessions[session.session_id] = session
        self._peers.inc()
        session.start(on_ended=self._forget)
        return session, answer

    async def end_stream(self, stream_id: str) -> None:
        """End the session that publishes to a stream, if any: the stream is removed."""
        session = self._by_stream.get(stream_id)
        if isinstance(session, _Beginning):
            session.is_wanted = False
        elif session is not None:
            await session.end(FeedEnd(SourceFailure.ENDED, "the stream was removed"))

    async def close(self) -> None:
        """End every session."""
        for session in self._by_stream.values():
            if isinstance(session, _Beginning):
                session.is_wanted = False
        sessions = tuple(self._sessions.values())
        end = FeedEnd(SourceFailure.ENDED, "the daemon is stopping")
        await asyncio.gather(*(session.end(end) for session in sessions))

    async def _make_way(self, stream_id: str) -> None:
        """End a session that seems dead; raises ``StreamTakenError`` for a live one."""
        while stream_id in self._by_stream:
            session = self._by_stream[stream_id]
            if isinstance(session, _Beginning) or session.silent_for_s < TAKEOVER_AFTER_S:
                raise StreamTakenError
            await session.end(
                FeedEnd(SourceFailure.ENDED, "a new publisher replaced one that fell silent")
            )

    async def _begin(
        self, stream_id: str, offer: Offer, clock_tolerance_s: float
    ) -> tuple[PublishingSession, str]:
        peer = Peer(self.ice_settings, "video", "recvonly")
        try:
            session = PublishingSession(
                stream_id,
                peer,
                offer,
                self._slot(stream_id),
                clock_tolerance_s=clock_tolerance_s,
                connect_timeout_s=CONNECT_TIMEOUT_S,
                media_timeout_s=self._config.media_timeout_s,
            )
            answer = await peer.answer(
                offer,
                BitrateLimits(self._config.start_bitrate_kbps, self._config.maximum_bitrate_kbps),
            )
        except BaseException:
            await peer.close()
            raise
        return session, answer

    def _forget(self, session: PublishingSession) -> None:
        self._peers.dec()
        del self._sessions[session.session_id]
        del self._by_stream[session.stream_id]

    def _slot(self, stream_id: str) -> PublisherSlot:
        with self._slots_lock:
            slot = self._slots.get(stream_id)
            if slot is None:
                slot = self._slots[stream_id] = PublisherSlot()
            return slot
