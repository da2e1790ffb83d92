"""The path from a publisher to the stream's source."""

from __future__ import annotations

import asyncio
import gc
import weakref

from streamer.errors import SourceFailure
from streamer.webrtc.encoded_feed import EncodedFeed, FeedEnd
from streamer.webrtc.publisher_slot import PublisherSlot
from streamer.webrtc.rtp_clock import RtpCaptureClock


async def test_publisher_that_is_gone_is_not_kept_in_memory() -> None:
    slot = PublisherSlot()
    feed = EncodedFeed(
        RtpCaptureClock(10),
        asyncio.get_running_loop(),
        request_keyframe=lambda: None,
        stop=lambda end: None,
    )
    slot.open(feed)
    assert slot.wait(0) is feed
    feed.close(FeedEnd(SourceFailure.ENDED, "gone"))
    gone = weakref.ref(feed)
    del feed
    assert slot.wait(0) is None
    gc.collect()
    assert gone() is None
