"""The live picture as a sink: keeps each stream's newest frame, and encodes it for viewers.

    FrameResult ─> trails, newest frame ─> VideoChannel (view, codec) ─> Viewer, Viewer, …
                                        ├> JpegChannel (view, width)  ─> JpegReader, …
                                        └> snapshot, when one is asked for

Encoded once for all viewers of the same; without viewers nothing is drawn or encoded.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from streamer.config.network import PictureConfig
from streamer.runtime.clock import Clock
from streamer.runtime.metrics import Metrics
from streamer.sinks.video.encoder import PictureCodec
from streamer.sinks.video.jpeg import JpegReader
from streamer.sinks.video.video_channel import Viewer
from streamer.sinks.video.view import View
from streamer.sinks.video.watched_stream import NoPictureError, WatchedStream
from streamer.types import FrameResult, Published, StreamState, StreamStatus

# Bound: streams that stopped, remembered so that their late frames are not kept.
STOPPED_REMEMBERED = 64
_CLOSE_TIMEOUT_S = 1.0


class PictureHub:
    """Shows tracked frames. A sink; everything is called on the event loop."""

    name = "picture"

    def __init__(self, config: PictureConfig, metrics: Metrics, clock: Clock) -> None:
        self.config = config
        self._metrics = metrics
        self._clock = clock
        self._streams: dict[str, WatchedStream] = {}
        self._stopped: OrderedDict[str, str | None] = OrderedDict()
        # One thread: snapshots wait for one another, not for the live pictures.
        self._snapshots = ThreadPoolExecutor(1, thread_name_prefix="masklet-snapshot")

    # As a sink.

    async def start(self) -> None:
        """Nothing to open: threads start with the first viewer."""

    def wants(self, item: Published) -> bool:
        """Frames and states, no events."""
        return isinstance(item, (FrameResult, StreamStatus))

    async def publish(self, item: Published) -> None:
        """Show a frame, or forget a stream that was stopped."""
        if isinstance(item, FrameResult):
            stream_id = item.frame.stream_id
            if self._stopped.get(stream_id) != item.frame.session_id:
                self._stream(stream_id).show(item)
        elif isinstance(item, StreamStatus) and item.state is StreamState.STOPPED:
            if (stream := self._streams.pop(item.stream_id, None)) is not None:
                stream.close()
            self._stopped[item.stream_id] = item.session_id
            if len(self._stopped) > STOPPED_REMEMBERED:
                self._stopped.popitem(last=False)

    async def close(self) -> None:
        """End all viewers, readers and threads."""
        streams = list(self._streams.values())
        self._streams.clear()
        for stream in streams:
            stream.close()
        await asyncio.gather(*(stream.ended(_CLOSE_TIMEOUT_S) for stream in streams))
        self._snapshots.shutdown(wait=False, cancel_futures=True)

    def end_watching(self) -> None:
        """End all viewers and readers: the daemon stops."""
        for stream in self._streams.values():
            stream.end_watching()

    # For viewers.

    @contextmanager
    def watch(self, stream_id: str, view: View, codec: PictureCodec) -> Iterator[Viewer]:
        """A viewer of the live picture until the end of the block, or of the stream.

        Its first ``read`` joins the encoding.
        """
        stream = self._stream(stream_id)
        viewer = stream.viewer(view, codec)
        try:
            yield viewer
        finally:
            stream.leave(viewer)

    def check_jpegs(
        self, stream_id: str, view: View, width: int | None = None, holder: str | None = None
    ) -> None:
        """Raises ``PictureBusyError`` if ``jpegs`` would."""
        if (stream := self._streams.get(stream_id)) is not None:
            stream.check_jpegs(view, self._jpeg_width(width), holder)

    @contextmanager
    def jpegs(
        self, stream_id: str, view: View, width: int | None = None, holder: str | None = None
    ) -> Iterator[JpegReader]:
        """JPEGs of the live picture until the end of the block, or of the stream.

        ``holder`` is the client that has a share of the widths; None: it may open all of them.
        Raises ``PictureBusyError``.
        """
        stream = self._stream(stream_id)
        reader = stream.jpeg_reader(view, self._jpeg_width(width), holder)
        try:
            yield reader
        finally:
            stream.leave_jpegs(reader)

    async def snapshot(self, stream_id: str, view: View, width: int | None = None) -> bytes:
        """The newest frame as JPEG, at most ``width`` wide; encoded once for all clients.

        Raises ``NoPictureError`` before the stream's first tracked frame.
        """
        stream = self._streams.get(stream_id)
        if stream is None:
            raise NoPictureError(f"stream {stream_id} has no picture yet; ask again")
        return await stream.snapshot(self._snapshots, view, width or self.config.width)

    def is_encoding(self, stream_id: str) -> bool:
        """Whether anything of this stream is encoded now."""
        stream = self._streams.get(stream_id)
        return stream is not None and stream.is_encoding

    def _jpeg_width(self, width: int | None) -> int:
        return min(width or self.config.width, self.config.width)

    def _stream(self, stream_id: str) -> WatchedStream:
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = WatchedStream(stream_id, self.config, self._metrics, self._clock)
            self._streams[stream_id] = stream
        return stream
