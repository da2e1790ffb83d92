"""A stream published by WHIP: waits for a publisher, and reads its video."""

from __future__ import annotations

import threading

from streamer.config.streams import ReconnectConfig, StreamConfig
from streamer.sources.base import SourceOutput
from streamer.sources.encoded_pictures import POLL_S, EncodedPictureReader
from streamer.webrtc.publisher_slot import PublisherSlot

WHIP_URL = "whip://"
# No back-off: the next attempt merely waits for the next publisher.
WHIP_RECONNECT = ReconnectConfig(initial_s=0.05, maximum_s=0.05, factor=1, jitter=0)


def is_published(config: StreamConfig) -> bool:
    """Whether a publisher sends this stream to us, instead of us fetching it."""
    return config.url.scheme == "whip"


def reconnect_config(config: StreamConfig) -> ReconnectConfig:
    """The back-off between attempts."""
    return WHIP_RECONNECT if is_published(config) else config.reconnect


class WhipSource:
    """One publisher's session of a stream. Waiting for a publisher is no failure."""

    lossless = False
    deadline = None
    redacted_url = WHIP_URL

    def __init__(
        self, stream_id: str, slot: PublisherSlot, open_timeout_s: float, read_timeout_s: float
    ) -> None:
        self._stream_id = stream_id
        self._slot = slot
        self._timeouts_s = (open_timeout_s, read_timeout_s)

    def run(self, output: SourceOutput, stop: threading.Event) -> None:
        """Deliver one publisher's frames; raises ``SourceError`` when it is gone."""
        while not stop.is_set():
            feed = self._slot.wait(POLL_S)
            if feed is not None:
                reader = EncodedPictureReader(self._stream_id, feed, *self._timeouts_s)
                reader.run(output, stop)
