"""One publisher: its peer, the feed of its pictures, and the watch that notices its end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from streamer.errors import SourceFailure
from streamer.logs import stream_logger
from streamer.timing import ns_to_seconds
from streamer.webrtc.encoded_feed import EncodedFeed, FeedEnd
from streamer.webrtc.inlet import Inlet
from streamer.webrtc.offer import Offer
from streamer.webrtc.peer import CONNECT_TIMEOUT_S, Peer
from streamer.webrtc.peer_session import PeerSession
from streamer.webrtc.sender_report import RtpCaptureClock

_logger = logging.getLogger(__name__)


class PublishingSession(PeerSession):
    """A WHIP session. It ends by ``end``, by its peer, or by ``media_timeout_s`` of silence.

    Every end goes one way: the watching task takes the first reason, tells it to the feed (and
    so to the stream's source), and closes the peer.
    """

    def __init__(
        self,
        stream_id: str,
        peer: Peer,
        offer: Offer,
        inlet: Inlet,
        *,
        clock_tolerance_s: float,
        media_timeout_s: float,
    ) -> None:
        super().__init__(stream_id, peer, offer.video)
        self._inlet = inlet
        self._media_timeout_s = media_timeout_s
        self._log = stream_logger(_logger, stream_id)
        self._last_sign_monotonic_ns = time.monotonic_ns()
        self._loop = asyncio.get_running_loop()
        self._asked_to_end: asyncio.Future[Any] = self._loop.create_future()
        self._watching: asyncio.Task[None] | None = None
        self._codecs = "/".join(codec.name for codec in offer.video.codecs)
        self.feed = EncodedFeed(
            RtpCaptureClock(clock_tolerance_s),
            request_keyframe=lambda: self._in_loop(peer.request_keyframe),
            stop=lambda end: self._in_loop(lambda: self._ask_to_end(end)),
        )
        peer.receive_into(self.feed, offer.video)

    @property
    def silent_for_s(self) -> float:
        """Since the last media, or since the session or its connection began."""
        last_ns = max(self._last_sign_monotonic_ns, self.peer.last_media_monotonic_ns or 0)
        return ns_to_seconds(time.monotonic_ns() - last_ns)

    def start(self, on_ended: Callable[[PublishingSession], None]) -> None:
        """Watch over the session; ``on_ended`` is called once, when it is over."""
        self._watching = asyncio.create_task(self._watch(on_ended), name="whip-session")

    async def end(self, end: FeedEnd) -> None:
        """End the session; returns when its sockets are free."""
        self._ask_to_end(end)
        assert self._watching is not None, "the session was not started"
        await asyncio.shield(self._watching)

    async def _watch(self, on_ended: Callable[[PublishingSession], None]) -> None:
        connected = asyncio.ensure_future(self.peer.connected.wait())
        closed = asyncio.ensure_future(self.peer.ended.wait())
        try:
            end = await self._until_connected(connected, closed)
            if end is None:
                self._log.info("a publisher is connected (%s)", self._codecs)
                self._inlet.open(self.feed)
                end = await self._until_silent(closed)
            self._log.info("%s", end.message)
            self.feed.close(end)
        finally:
            connected.cancel()
            closed.cancel()
            on_ended(self)
            await self.peer.close()

    async def _until_connected(
        self, connected: asyncio.Future[Any], closed: asyncio.Future[Any]
    ) -> FeedEnd | None:
        await asyncio.wait(
            {self._asked_to_end, connected, closed},
            timeout=CONNECT_TIMEOUT_S,
            return_when=asyncio.FIRST_COMPLETED,
        )
        if self._asked_to_end.done():
            return self._end_asked_for()
        if closed.done():
            return FeedEnd(SourceFailure.UNREACHABLE, "the publisher could not be connected")
        if not connected.done():
            return FeedEnd(
                SourceFailure.TIMEOUT,
                f"the publisher was not reached within {CONNECT_TIMEOUT_S:.0f} s; do UDP packets "
                "pass between it and this machine? (webrtc.advertised_address, port_minimum)",
            )
        self._last_sign_monotonic_ns = time.monotonic_ns()
        return None

    async def _until_silent(self, closed: asyncio.Future[Any]) -> FeedEnd:
        while (remaining_s := self._media_timeout_s - self.silent_for_s) > 0:
            await asyncio.wait(
                {self._asked_to_end, closed},
                timeout=remaining_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if self._asked_to_end.done():
                return self._end_asked_for()
            if closed.done():
                return FeedEnd(SourceFailure.ENDED, "the publisher closed the connection")
        return FeedEnd(
            SourceFailure.TIMEOUT,
            f"the publisher sent no media for {self._media_timeout_s:.1f} s (media_timeout_s)",
        )

    def _end_asked_for(self) -> FeedEnd:
        end: FeedEnd = self._asked_to_end.result()
        return end

    def _ask_to_end(self, end: FeedEnd) -> None:
        if not self._asked_to_end.done():
            self._asked_to_end.set_result(end)

    def _in_loop(self, call: Callable[[], None]) -> None:
        """Call on the peer's loop, from any thread."""
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            return  # the loop is closed, and the peer with it
