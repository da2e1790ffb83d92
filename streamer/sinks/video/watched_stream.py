"""One stream as viewers see it: its newest frame, and the encodings that are wanted of it now."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from streamer.config.network import PictureConfig
from streamer.errors import MaskletError
from streamer.runtime.clock import Clock
from streamer.runtime.metrics import Metrics
from streamer.sinks.video.encoder import PictureCodec
from streamer.sinks.video.jpeg import JpegChannel, JpegReader, encode_jpeg
from streamer.sinks.video.trails import Trails
from streamer.sinks.video.video_channel import VideoChannel, Viewer
from streamer.sinks.video.view import Scene, View
from streamer.types import FrameResult

# Each width is encoded on its own: bounds how many of them one stream can have besides
# picture.width, which everybody gets, and how many of those one client can open.
JPEG_CHANNELS_PER_STREAM = 4
JPEG_CHANNELS_PER_HOLDER = 2
SNAPSHOTS_KEPT_PER_STREAM = 4
# The session and frame that it shows, and its JPEG.
_Snapshot = tuple[tuple[str, int], asyncio.Future[bytes]]


class NoPictureError(MaskletError):
    """The stream has no picture yet; try again."""


class PictureBusyError(MaskletError):
    """The stream is encoded in the maximum number of sizes and views already."""


class WatchedStream:
    """One stream's newest frame, trails and encodings; used on the event loop."""

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
        """Whether anybody watches."""
        return bool(self._video or self._jpeg)

    def show(self, result: FrameResult) -> None:
        """Give a frame to all encodings, and keep it for those who come next."""
        self._trails.observe(result)
        self._newest = result
        if self.is_encoding:
            scene = Scene(result, self._trails.of_objects())
            for video in self._video.values():
                video.offer(scene)
            for jpeg in self._jpeg.values():
                jpeg.offer(scene)

    def viewer(self, view: View, codec: PictureCodec) -> Viewer:
        """A viewer, who joins the encoding with its first read."""
        key = (view, codec)
        return Viewer(
            on_first_read=lambda viewer: self._join(key, viewer),
            request_keyframe=lambda: self._request_keyframe(key),
            on_dropped=self._metrics.picture_frames_dropped.labels(
                self._stream_id, "viewer_behind"
            ).inc,
        )

    def leave(self, viewer: Viewer) -> None:
        """End a viewer, and the encoding that it was the last of."""
        viewer.close()
        for key, channel in list(self._video.items()):
            channel.viewers.discard(viewer)
            if not channel.viewers:
                self._end_video(key)

    def check_jpegs(self, view: View, width: int, holder: str | None) -> None:
        """Raises ``PictureBusyError`` if ``jpeg_reader`` would."""
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
        """A reader of JPEGs, the newest frame first. Raises ``PictureBusyError``."""
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
        """End a reader, and the encoding that it was the last of."""
        reader.close()
        for key, channel in list(self._jpeg.items()):
            channel.readers.discard(reader)
            if not channel.readers:
                self._end_jpeg(key)

    async def snapshot(self, executor: ThreadPoolExecutor, view: View, width: int) -> bytes:
        """The newest frame as JPEG, encoded in ``executor``. Raises ``NoPictureError``."""
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
        """End all viewers and readers."""
        for video_key in list(self._video):
            self._end_video(video_key)
        for jpeg_key in list(self._jpeg):
            self._end_jpeg(jpeg_key)

    def close(self) -> None:
        """End all viewers and readers, and forget the newest frame."""
        self.end_watching()
        self._newest = None

    async def ended(self, timeout_s: float) -> None:
        """Wait until the threads that were ended are gone, ``timeout_s`` at most."""
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
