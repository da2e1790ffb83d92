"""Hands the current publisher's feed to a stream's source."""

from __future__ import annotations

import threading

from streamer.webrtc.encoded_feed import EncodedFeed


class PublisherSlot:
    """Holds one feed, the newest. Safe to use from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._feed: EncodedFeed | None = None

    def open(self, feed: EncodedFeed) -> None:
        """Put the feed of a connected publisher here."""
        with self._changed:
            self._feed = feed
            self._changed.notify_all()

    def wait(self, timeout_s: float) -> EncodedFeed | None:
        """The connected publisher's feed; None if none connects within ``timeout_s``."""
        with self._changed:
            if not self._has_live_feed():
                self._feed = None  # the last publisher's, which holds its whole connection
                self._changed.wait(timeout_s)
            return self._feed if self._has_live_feed() else None

    def _has_live_feed(self) -> bool:
        return self._feed is not None and self._feed.end is None
