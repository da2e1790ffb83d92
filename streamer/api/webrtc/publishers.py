"""The WHIP sessions, and the way of their pictures to the streams' sources.

peer ── FrameAssembler ──► EncodedFeed ──► PublisherSlot ──► WhipSource (the stream's own thread)
        event loop         bounded         newest
                                           session
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Collection
from contextlib import ExitStack
from weakref import WeakValueDictionary

from streamer.api.server.principals import Principal
from streamer.api.webrtc.publishing_session import PublishingSession
from streamer.config.network import WebRTCConfig
from streamer.config.streams import StreamConfig
from streamer.errors import SourceFailure
from streamer.runtime.clock import Clock
from streamer.runtime.metrics import Metrics
from streamer.runtime.shares import Shares
from streamer.runtime.token_buckets import TokenBuckets
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
# Of a session that sends, by its own token: so many at once, then one in ten seconds. Two devices
# that share a token would take the stream from each other without end.
TAKEOVERS_AT_ONCE = 10
TAKEOVERS_PER_S = 0.1
_STREAMS_REMEMBERED = 64


class StreamTakenError(Exception):
    """The stream has a publisher, which sent something ``silent_for_s`` ago.

    ``wait_s`` is the time after which the stream is free if that publisher has crashed.
    """

    def __init__(self, silent_for_s: float, wait_s: float) -> None:
        super().__init__()
        self.silent_for_s = silent_for_s
        self.retry_after_s = max(1, math.ceil(wait_s))


class StreamGoneError(Exception):
    """The stream was removed, or the daemon stops, while the connection was set up."""


class _Beginning:
    """A session whose connection is being set up; it may be obsolete before that is done."""

    is_wanted = True


class Publishers:
    """All WHIP sessions. Used on the event loop, except ``source``.

    Bounds: ``webrtc.publishers`` sessions, shared among the tokens, one a stream. A session ends
    when its publisher deletes it, is not connected in time, or sends no media for
    ``webrtc.media_timeout_s``, and with the login it was begun with.
    """

    def __init__(
        self,
        config: WebRTCConfig,
        metrics: Metrics,
        clock: Clock,
        token_names: Collection[str] = (),
    ) -> None:
        """``token_names`` are those that may publish.

        Raises ``ConfigError`` for ICE servers that cannot be used.
        """
        self.ice_settings = ice_settings(config)
        self._config = config
        self._shares = Shares(
            config.publishers, token_names, "publishers' connections (webrtc.publishers)"
        )
        self._takeovers = TokenBuckets(
            TAKEOVERS_PER_S, TAKEOVERS_AT_ONCE, clock, _STREAMS_REMEMBERED
        )
        self._peers = metrics.webrtc_peers.labels("publisher")
        self._sessions: dict[str, PublishingSession] = {}
        self._by_stream: dict[str, PublishingSession | _Beginning] = {}
        # A slot lives as long as its stream's source or a session holds it.
        self._slots: WeakValueDictionary[str, PublisherSlot] = WeakValueDictionary()
        self._slots_lock = threading.Lock()

    def source(self, stream_id: str, config: StreamConfig) -> WhipSource:
        """The source for one attempt of a ``whip://`` stream."""
        slot = self._slot(stream_id)
        return WhipSource(stream_id, slot, config.open_timeout_s, config.read_timeout_s)

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

    def has_publisher(self, stream_id: str) -> bool:
        """Whether a session publishes to this stream, or begins to."""
        return stream_id in self._by_stream

    def check_room(self, publisher: Principal) -> None:
        """Raise ``BusyError`` if ``publisher`` may not begin another session now."""
        self._shares.check(publisher.name)

    async def publish(
        self, stream_id: str, offer: Offer, clock_tolerance_s: float, publisher: Principal
    ) -> tuple[PublishingSession, str]:
        """Begin a session: the session and our answer.

        A publisher takes its own stream over: the same token is the same publisher. Raises
        ``StreamTakenError``, ``BusyError``, ``StreamGoneError``, ``SdpError`` or ``PeerError``.
        """
        await self._make_way(stream_id, publisher)
        with ExitStack() as place:
            place.enter_context(self._shares.hold(publisher.name))
            beginning = self._by_stream[stream_id] = _Beginning()
            try:
                session, answer = await self._begin(stream_id, offer, clock_tolerance_s, publisher)
                if not beginning.is_wanted:
                    await session.peer.close()
                    raise StreamGoneError
            except BaseException:
                del self._by_stream[stream_id]
                raise
            held = place.pop_all()
        self._by_stream[stream_id] = session
        self._sessions[session.session_id] = session
        self._peers.inc()

        def forget() -> None:
            self._peers.dec()
            del self._sessions[session.session_id]
            del self._by_stream[stream_id]
            held.close()

        session.start(on_ended=forget)
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

    async def _make_way(self, stream_id: str, publisher: Principal) -> None:
        """End a session of the same publisher, or one that seems dead.

        Raises ``StreamTakenError`` for a live one of another.
        """
        while stream_id in self._by_stream:
            session = self._by_stream[stream_id]
            if isinstance(session, _Beginning):
                raise StreamTakenError(0.0, 0.0)
            reason = "a new publisher replaced one that fell silent"
            if (wait_s := TAKEOVER_AFTER_S - session.silent_for_s) > 0:
                is_same = publisher.has_token and session.publisher == publisher
                if not is_same or self._takeovers.take(stream_id):
                    raise StreamTakenError(session.silent_for_s, wait_s)
                reason = "its publisher began a new session"
            await session.end(FeedEnd(SourceFailure.ENDED, reason))

    async def _begin(
        self, stream_id: str, offer: Offer, clock_tolerance_s: float, publisher: Principal
    ) -> tuple[PublishingSession, str]:
        peer = Peer(self.ice_settings, "video", "recvonly")
        try:
            session = PublishingSession(
                stream_id,
                peer,
                offer,
                self._slot(stream_id),
                publisher=publisher,
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

    def _slot(self, stream_id: str) -> PublisherSlot:
        with self._slots_lock:
            slot = self._slots.get(stream_id)
            if slot is None:
                slot = self._slots[stream_id] = PublisherSlot()
            return slot
