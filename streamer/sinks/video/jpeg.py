"""Still pictures: a snapshot, and a sequence of JPEGs where WebRTC is blocked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import cv2

from streamer.config.network import PictureConfig
from streamer.runtime.clock import Clock, ns_to_seconds
from streamer.runtime.metrics import Metrics
from streamer.sinks.video.canvas import render
from streamer.sinks.video.newest import NewestWorker
from streamer.sinks.video.paced import PacedPictures
from streamer.sinks.video.view import Scene, View


def encode_jpeg(scene: Scene, view: View, width: int, quality: int) -> bytes:
    """The picture of a scene as JPEG, at most ``width`` pixels wide; quality 1..100."""
    canvas = render(scene, view, width)
    is_encoded, data = cv2.imencode(
        ".jpg", cv2.cvtColor(canvas, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    assert is_encoded, "cv2 encodes every picture of three channels"
    return data.tobytes()


class Jpeg(NamedTuple):
    """An encoded picture and the frame it shows."""

    data: bytes
    session_id: str
    frame_index: int


class JpegReader:
    """The newest JPEG for one client, again and again: ``async for jpeg in reader``.

    Bound: one JPEG waits, shared with all others; policy: a newer one replaces it, which counts
    as dropped for this client only.
    """

    def __init__(self, on_dropped: Callable[[], None], holder: str | None = None) -> None:
        self.holder = holder
        self._on_dropped = on_dropped
        self._waiting: Jpeg | None = None
        self._filled = asyncio.Event()
        self._closed = False
        self.dropped = 0

    def give(self, jpeg: Jpeg) -> None:
        """Make ``jpeg`` the next."""
        if self._waiting is not None:
            self.dropped += 1
            self._on_dropped()
        self._waiting = jpeg
        self._filled.set()

    def close(self) -> None:
        """End the iteration."""
        self._closed = True
        self._filled.set()

    def __aiter__(self) -> AsyncIterator[Jpeg]:
        return self

    async def __anext__(self) -> Jpeg:
        while self._waiting is None and not self._closed:
            self._filled.clear()
            await self._filled.wait()
        if self._closed or self._waiting is None:
            raise StopAsyncIteration
        jpeg, self._waiting = self._waiting, None
        return jpeg


class JpegChannel:
    """Encodes one view of one stream at one width for all its readers, in a thread of its own."""

    def __init__(
        self,
        stream_id: str,
        view: View,
        width: int,
        config: PictureConfig,
        metrics: Metrics,
        clock: Clock,
        on_failed: Callable[[], None],
    ) -> None:
        self.readers: set[JpegReader] = set()
        self._view = view
        self._width = width
        self._quality = config.jpeg_quality
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._last: Jpeg | None = None
        self._seconds = metrics.picture_seconds.labels("jpeg")
        self._worker: NewestWorker[Scene] = NewestWorker(
            f"picture-{stream_id}-{view}-jpeg",
            self._encode,
            on_superseded=metrics.picture_frames_dropped.labels(stream_id, "encoder_busy").inc,
            on_failed=on_failed,
        )
        self._paced = PacedPictures(config.maximum_rate_hz, self._worker.offer)

    def offer(self, scene: Scene) -> None:
        """Encode this picture, at ``picture.maximum_rate_hz`` at most."""
        self._paced.offer(scene)

    def join(self, reader: JpegReader, newest: Scene | None) -> None:
        """Add a reader; it gets the ``newest`` picture at once, also while its stream rests."""
        self.readers.add(reader)
        if newest is None:
            return
        frame = newest.result.frame
        if self._last is not None and self._last[1:] == (frame.session_id, frame.index):
            reader.give(self._last)
        else:
            self._worker.offer(newest)

    def close(self) -> None:
        """End the readers and the thread."""
        self._paced.close()
        for reader in self.readers:
            reader.close()
        self.readers.clear()
        self._worker.close()

    @property
    def ended(self) -> asyncio.Future[None]:
        """Done when the thread has ended, after ``close``."""
        return self._worker.ended

    def _encode(self, scene: Scene) -> None:
        started_ns = self._clock.monotonic_ns()
        data = encode_jpeg(scene, self._view, self._width, self._quality)
        frame = scene.result.frame
        jpeg = Jpeg(data, frame.session_id, frame.index)
        self._seconds.observe(ns_to_seconds(self._clock.monotonic_ns() - started_ns))
        self._loop.call_soon_threadsafe(self._fan_out, jpeg)

    def _fan_out(self, jpeg: Jpeg) -> None:
        self._last = jpeg
        for reader in self.readers:
            reader.give(jpeg)
