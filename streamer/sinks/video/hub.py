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
from streamer.errors import MaskletError
from streamer.runtime.clock import Clock
from streamer.runtime.metrics import Metrics
from streamer.sinks.video.encoder import PictureCodec
from streamer.sinks.video.jpeg import JpegChannel, JpegReader, encode_jpeg
from streamer.sinks.video.trails import Trails
from streamer.sinks.video.video_channel import VideoChannel, Viewer
from streamer.sinks.video.view import Scene, View
from streamer.types import FrameResult, Published, StreamState, StreamStatus

# Each width is encoded on its own: bounds how many of them one stream can have besides
# picture.width, which everybody gets, and how many of those one client can open.
JPEG_CHANNELS_PER_STREAM = 4
JPEG_CHANNELS_PER_HOLDER = 2
SNAPSHOTS_KEPT_PER_STREAM = 4
# Bound: streams that stopped, remembered so that their late frames are not kept.
STOPPED_REMEMBERED = 64
_CLOSE_TIMEOUT_S = 1.0
# The session and frame that it shows, and its JPEG.
_Snapshot = tuple[tuple[str, int], asyncio.Future[bytes]]


class NoPictureError(MaskletError):
    """The stream has no picture yet; try again."""


class PictureBusyError(MaskletError):
    """The stream is encoded in the maximum number of sizes and views already."""


class PictureHub:
    """Shows tracked frames. A sink; everything is called on the event loop."""

    name = "picture"

    def __init__(self, config: PictureConfig, metrics: Metrics, clock: Clock) -> None:
        self.config = config
        self._metrics = metrics
        self._clock = clock
        self._streams: dict[str, _WatchedStream] = {}
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

    def _stream(self, stream_id: str) -> _WatchedStream:
        stream = self._streams.get(stream_id)
        if stream is None:
            stream = _WatchedStream(stream_id, self.config, self._metrics, self._clock)
            self._streams[stream_id] = stream
        return stream


class _WatchedStream:
    """One stream's newest frame, trails and encodings."""

    def __init__(
        self, stream_id: str, config: PictureConfig, metrics: Metrics, clock: Clock
    ) -> None:
        self._stream_id = stream_id
        self._config = config
        self._metrics = metrics
        self._clock = clock
        self._trails = Trails(config.trail_s)
        self._newest: FrameResult | None = None
        self._video: dict[tuple[View, PictureCodec], VideoChannel] = {}
        self._jpeg: dict[tuple[View, int], JpegChannel] = {}
        self._ending: set[VideoChannel | JpegChannel] = set()
        # Bound: the pictures of one frame at SNAPSHOTS_KEPT_PER_STREAM sizes, oldest first out.
        self._snapshots: OrderedDict[tuple[View, int], _Snapshot] = OrderedDict()

    @property
    def is_encoding(self) -> bool:
        return bool(self._video or self._jpeg)

    def show(self, result: FrameResult) -> None:
        self._trails.observe(result)
        self._newest = result
        if self.is_encoding:
            scene = Scene(result, self._trails.of_objects())
            for video in self._video.values():
                video.offer(scene)
            for jpeg in self._jpeg.values():
                jpeg.offer(scene)

    def viewer(self, view: View, codec: PictureCodec) -> Viewer:
        key = (view, codec)
        return Viewer(
            on_first_read=lambda viewer: self._join(key, viewer),
            request_keyframe=lambda: self._request_keyframe(key),
            on_dropped=self._metrics.picture_frames_dropped.labels(
                self._stream_id, "viewer_behind"
            ).inc,
        )

    def leave(self, viewer: Viewer) -> None:
        viewer.close()
        for key, channel in list(self._video.items()):
            channel.viewers.discard(viewer)
            if not channel.viewers:
                self._end_video(key)

    def check_jpegs(self, view: View, width: int, holder: str | None) -> None:
        if (view, width) in self._jpeg or width == self._config.width:
            return
        further = [
            channel for (_, each), channel in self._jpeg.items() if each != self._config.width
        ]
        held = [
            channel
            for channel in further
            if any(reader.holder == holder for reader in channel.readers)
        ]
        if len(further) >= JPEG_CHANNELS_PER_STREAM or (
            holder is not None and len(held) >= JPEG_CHANNELS_PER_HOLDER
        ):
            widths = sorted({each for _, each in self._jpeg} | {self._config.width})
            raise PictureBusyError(
                f"stream {self._stream_id} is encoded as JPEG in {len(further)} further sizes and "
                f"views already, {len(held)} of them for you; ask for one of the widths "
                f"{', '.join(map(str, widths))}"
            )

    def jpeg_reader(self, view: View, width: int, holder: str | None) -> JpegReader:
        key = (view, width)
        channel = self._jpeg.get(key)
        if channel is None:
            self.check_jpegs(view, width, holder)
            channel = self._jpeg[key] = JpegChannel(
                self._stream_id,
                view,
                width,
                self._config,
                self._metrics,
                self._clock,
                on_failed=lambda: self._end_jpeg(key),
            )
        reader = JpegReader(
            self._metrics.picture_frames_dropped.labels(self._stream_id, "viewer_behind").inc,
            holder,
        )
        channel.join(reader, self._scene())
        return reader

    def leave_jpegs(self, reader: JpegReader) -> None:
        reader.close()
        for key, channel in list(self._jpeg.items()):
            channel.readers.discard(reader)
            if not channel.readers:
                self._end_jpeg(key)

    async def snapshot(self, executor: ThreadPoolExecutor, view: View, width: int) -> bytes:
        newest = self._newest
        if newest is None:
            raise NoPictureError(f"stream {self._stream_id} has no picture yet; ask again")
        key = (view, min(width, newest.frame.picture.pixels.width))
        moment = (newest.frame.session_id, newest.frame.index)
        known = self._snapshots.pop(key, None)
        if known is None or known[0] != moment:
            scene = Scene(newest, self._trails.of_objects())
            encoding = asyncio.get_running_loop().run_in_executor(
                executor, encode_jpeg, scene, *key, self._config.jpeg_quality
            )
            known = (moment, encoding)
        self._snapshots[key] = known
        if len(self._snapshots) > SNAPSHOTS_KEPT_PER_STREAM:
            self._snapshots.popitem(last=False)
        return await asyncio.shield(known[1])

    def end_watching(self) -> None:
        for video_key in list(self._video):
            self._end_video(video_key)
        for jpeg_key in list(self._jpeg):
            self._end_jpeg(jpeg_key)

    def close(self) -> None:
        self.end_watching()
        self._newest = None

    async def ended(self, timeout_s: float) -> None:
        if ending := {channel.ended for channel in self._ending}:
            await asyncio.wait(ending, timeout=timeout_s)

    def _scene(self) -> Scene | None:
        if self._newest is None:
            return None
        return Scene(self._newest, self._trails.of_objects())

    def _join(self, key: tuple[View, PictureCodec], viewer: Viewer) -> None:
        channel = self._video.get(key)
        if channel is None:
            channel = self._video[key] = VideoChannel(
                self._stream_id,
                *key,
                self._config,
                self._metrics,
                self._clock,
                on_failed=lambda: self._end_video(key),
            )
            if (scene := self._scene()) is not None:
                channel.offer(scene)
        channel.viewers.add(viewer)

    def _request_keyframe(self, key: tuple[View, PictureCodec]) -> None:
        if (channel := self._video.get(key)) is not None:
            channel.request_keyframe()

    def _end_video(self, key: tuple[View, PictureCodec]) -> None:
        if (channel := self._video.pop(key, None)) is not None:
            self._end(channel)

    def _end_jpeg(self, key: tuple[View, int]) -> None:
        if (channel := self._jpeg.pop(key, None)) is not None:
            self._end(channel)

    def _end(self, channel: VideoChannel | JpegChannel) -> None:
        channel.close()
        self._ending = {each for each in self._ending if not each.ended.done()} | {channel}
