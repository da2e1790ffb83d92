"""Detects that a peer never connected, fell silent or left."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from streamer.errors import SourceFailure
from streamer.runtime.clock import ns_to_seconds
from streamer.webrtc.encoded_feed import FeedEnd
from streamer.webrtc.peer import Peer


class MediaWatch:
    """Waits for the end of one peer's media, by whichever reason comes first. One event loop.

    ``peer_name`` and ``timeout_setting`` appear in the messages. Any packet of the video counts
    as media, decodable or not.
    """

    def __init__(
        self,
        peer: Peer,
        *,
        peer_name: str,
        connect_timeout_s: float,
        media_timeout_s: float,
        timeout_setting: str,
    ) -> None:
        self._peer = peer
        self._peer_name = peer_name
        self._connect_timeout_s = connect_timeout_s
        self._media_timeout_s = media_timeout_s
        self._timeout_setting = timeout_setting
        self._began_monotonic_ns = time.monotonic_ns()
        self._asked_to_end: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    @property
    def silent_for_s(self) -> float:
        """Seconds since the last media, or since this watch or the connection began."""
        last_ns = max(self._began_monotonic_ns, self._peer.last_media_monotonic_ns or 0)
        return ns_to_seconds(time.monotonic_ns() - last_ns)

    def end(self, end: FeedEnd) -> None:
        """End the wait with this reason, unless there is one already."""
        if not self._asked_to_end.done():
            self._asked_to_end.set_result(end)

    async def until_connected(self) -> FeedEnd | None:
        """None once media can flow; else why they never will."""
        if await self._first(self._peer.connected, self._connect_timeout_s):
            self._began_monotonic_ns = time.monotonic_ns()
            return None
        if self._asked_to_end.done():
            return self._end_asked_for()
        if self._peer.ended.is_set():
            return FeedEnd(SourceFailure.UNREACHABLE, f"{self._peer_name} could not be connected")
        return FeedEnd(
            SourceFailure.TIMEOUT,
            f"{self._peer_name} was not reached within {self._connect_timeout_s:.1f} s; do UDP "
            "packets pass between it and this machine? (webrtc.advertised_address, "
            "webrtc.port_minimum)",
        )

    async def until_silent(self) -> FeedEnd:
        """Why the media ended."""
        while (remaining_s := self._media_timeout_s - self.silent_for_s) > 0:
            if await self._first(self._peer.ended, remaining_s):
                return FeedEnd(SourceFailure.ENDED, f"{self._peer_name} closed the connection")
            if self._asked_to_end.done():
                return self._end_asked_for()
        return FeedEnd(
            SourceFailure.TIMEOUT,
            f"{self._peer_name} sent no media for {self._media_timeout_s:.1f} s "
            f"({self._timeout_setting})",
        )

    async def _first(self, event: asyncio.Event, timeout_s: float) -> bool:
        """Whether ``event`` is what ended the wait, and not an end or the time."""
        happened = asyncio.ensure_future(event.wait())
        ended = asyncio.ensure_future(self._peer.ended.wait())
        try:
            await asyncio.wait(
                {happened, ended, self._asked_to_end},
                timeout=timeout_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
            return happened.done() and not self._asked_to_end.done()
        finally:
            happened.cancel()
            ended.cancel()

    def _end_asked_for(self) -> FeedEnd:
        end: FeedEnd = self._asked_to_end.result()
        return end
