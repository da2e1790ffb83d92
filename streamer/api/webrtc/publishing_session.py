"""One publisher: its peer, the feed of its pictures, and the watch that notices its end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from streamer.api.server.principals import Principal
from streamer.errors import SourceFailure
from streamer.runtime.logs import stream_logger
from streamer.webrtc.encoded_feed import EncodedFeed, FeedEnd
from streamer.webrtc.media_watch import MediaWatch
from streamer.webrtc.offer import Offer
from streamer.webrtc.peer import Peer
from streamer.webrtc.peer_session import PeerSession
from streamer.webrtc.publisher_slot import PublisherSlot
from streamer.webrtc.rtp_clock import RtpCaptureClock

_logger = logging.getLogger(__name__)


class PublishingSession(PeerSession):
    """A WHIP session. It ends by ``end``, by its peer, by ``media_timeout_s`` of silence, or with
    the login it was begun with.

    There is one way to end: the watching task takes the first reason, passes it to the feed (and
    so to the stream's source), and closes the peer.
    """

    def __init__(
        self,
        stream_id: str,
        peer: Peer,
        offer: Offer,
        slot: PublisherSlot,
        *,
        publisher: Principal,
        clock_tolerance_s: float,
        connect_timeout_s: float,
        media_timeout_s: float,
    ) -> None:
        super().__init__(stream_id, peer, offer.video)
        self.publisher = publisher
        self._slot = slot
        self._log = stream_logger(_logger, stream_id)
        self._codecs = "/".join(codec.name for codec in offer.video.codecs)
        self._watch = MediaWatch(
            peer,
            peer_name="the publisher",
            connect_timeout_s=connect_timeout_s,
            media_timeout_s=media_timeout_s,
            timeout_setting="webrtc.media_timeout_s",
        )
        self._watching: asyncio.Task[None] | None = None
        self._feed = EncodedFeed(
            RtpCaptureClock(clock_tolerance_s),
            asyncio.get_running_loop(),
            request_keyframe=peer.request_keyframe,
            stop=self._watch.end,
        )
        peer.receive_into(self._feed, offer.video)

    @property
    def silent_for_s(self) -> float:
        """Since the last media, or since the session or its connection began."""
        return self._watch.silent_for_s

    def start(self, on_ended: Callable[[], None]) -> None:
        """Watch over the session; ``on_ended`` is called once, when it is over."""
        self._watching = asyncio.create_task(self._run(on_ended), name="whip-session")

    async def end(self, end: FeedEnd) -> None:
        """End the session; returns when its sockets are free."""
        self._watch.end(end)
        assert self._watching is not None, "the session was not started"
        await asyncio.shield(self._watching)

    async def _run(self, on_ended: Callable[[], None]) -> None:
        logged_out = FeedEnd(SourceFailure.ENDED, "the publisher's login has ended")
        try:
            with self.publisher.closing(lambda: self._watch.end(logged_out)):
                end = await self._watch.until_connected()
                if end is None:
                    self._log.info("a publisher is connected (%s)", self._codecs)
                    self._slot.open(self._feed)
                    end = await self._watch.until_silent()
            self._log.info("%s", end.message)
            self._feed.close(end)
        finally:
            on_ended()
            await self.peer.close()
