"""One encoding of one stream, and the viewers that share it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from streamer.config.network import PictureConfig
from streamer.runtime.clock import NANOSECONDS_PER_SECOND, Clock, ns_to_seconds
from streamer.runtime.metrics import Metrics
from streamer.sinks.video.canvas import render
from streamer.sinks.video.encoder import PictureCodec, VideoEncoder, VideoPacket
from streamer.sinks.video.newest import NewestWorker
from streamer.sinks.video.paced import PacedPictures
from streamer.sinks.video.view import Scene, View
from streamer.webrtc.rtp_clock import VIDEO_CLOCK_HZ, video_ticks

# A third of a second at 30 Hz: a viewer further behind than this needs the newest picture.
PACKETS_PER_VIEWER = 10
# After this time without a new picture the last one is sent again to viewers without a keyframe.
SILENCE_S = 2.0


class Viewer:
    """The packets of one viewer, in order, each sequence beginning with a keyframe.

    Bound: ``PACKETS_PER_VIEWER`` packets; policy: on overflow all waiting packets are dropped,
    and none accepted until the next keyframe, because none between could be decoded. Used
    on the event loop.
    """

    def __init__(
        self,
        *,
        on_first_read: Callable[[Viewer], None],
        request_keyframe: Callable[[], None],
        on_dropped: Callable[[int], None],
        is_congested: Callable[[], bool] = lambda: False,
    ) -> None:
        """``is_congested`` returns whether sent packets have not left this machine yet."""
        self._on_first_read = on_first_read
        self._request_keyframe = request_keyframe
        self._on_dropped = on_dropped
        self.is_congested = is_congested
        self._packets: deque[VideoPacket] = deque()
        self._filled = asyncio.Event()
        self._needs_keyframe = True
        self._reading = False
        self._is_waiting = False
        self.closed = asyncio.Event()
        self.dropped = 0

    async def read(self) -> VideoPacket | None:
        """The next packet, waiting for one; None once the viewer was closed.

        The first call joins the encoding: a viewer that never connects costs nothing.
        """
        if not self._reading:
            self._reading = True
            self._on_first_read(self)
        while not self._packets and not self.closed.is_set():
            if self._needs_keyframe:
                self._request_keyframe()
            self._filled.clear()
            self._is_waiting = True
            await self._filled.wait()
            self._is_waiting = False
        return None if self.closed.is_set() else self._packets.popleft()

    def give(self, packet: VideoPacket) -> None:
        """Queue a packet, or drop it as the policy says."""
        if self.closed.is_set():
            return
        if packet.is_keyframe and not self.is_congested():
            # Older packets would only add delay.
            self._drop_waiting()
            self._needs_keyframe = False
        elif self._needs_keyframe:
            self._count_dropped(1)
            if self._is_waiting and not self.is_congested():
                # Again: the keyframe it asked for may have come while its network was full.
                self._request_keyframe()
            return
        elif len(self._packets) >= PACKETS_PER_VIEWER or self.is_congested():
            self._drop_waiting()
            self._count_dropped(1)
            self._needs_keyframe = True
            return
        self._packets.append(packet)
        self._filled.set()

    def request_keyframe(self) -> None:
        """Ask for a keyframe: the viewer's decoder cannot continue (PLI, FIR)."""
        self._request_keyframe()

    def close(self) -> None:
        """End the packets; a waiting ``read`` returns None."""
        self.closed.set()
        self._packets.clear()
        self._filled.set()

    def _drop_waiting(self) -> None:
        self._count_dropped(len(self._packets))
        self._packets.clear()

    def _count_dropped(self, count: int) -> None:
        if count:
            self.dropped += count
            self._on_dropped(count)


class VideoChannel:
    """Draws and encodes one view of one stream for all its viewers, in a thread of its own."""

    def __init__(
        self,
        stream_id: str,
        view: View,
        codec: PictureCodec,
        config: PictureConfig,
        metrics: Metrics,
        clock: Clock,
        on_failed: Callable[[], None],
    ) -> None:
        self.viewers: set[Viewer] = set()
        self._stream_id = stream_id
        self._view = view
        self._width = config.width
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._newest: Scene | None = None
        self._offered_ns = 0
        self._repeat: asyncio.TimerHandle | None = None
        self._encoder = VideoEncoder(
            codec,
            bitrate_bps=config.bitrate_kbps * 1000,
            keyframe_interval_s=config.keyframe_interval_s,
            rate_hz=config.maximum_rate_hz,
        )
        self._draw_seconds = metrics.picture_seconds.labels("draw")
        self._encode_seconds = metrics.picture_seconds.labels(codec.value)
        superseded = metrics.picture_frames_dropped.labels(stream_id, "encoder_busy")
        self._worker: NewestWorker[tuple[Scene, int]] = NewestWorker(
            f"picture-{stream_id}-{view}-{codec}",
            self._encode,
            on_superseded=superseded.inc,
            on_failed=on_failed,
        )
        self._paced = PacedPictures(
            config.maximum_rate_hz,
            lambda scene: self._worker.offer((scene, video_ticks(scene.result.frame.picture))),
        )

    def offer(self, scene: Scene) -> None:
        """Encode this picture, at ``picture.maximum_rate_hz`` at most."""
        self._newest = scene
        self._offered_ns = self._clock.monotonic_ns()
        self._end_repeat()
        self._paced.offer(scene)

    def request_keyframe(self) -> None:
        """Make the next picture a keyframe: a viewer cannot decode the present ones.

        While the stream rests, the next picture is the last one again, with the present time.
        """
        self._encoder.request_keyframe()
        if self._newest is not None:
            self._end_repeat()
            silent_s = ns_to_seconds(self._clock.monotonic_ns() - self._offered_ns)
            wait_s = max(0.0, SILENCE_S - silent_s)
            self._repeat = self._loop.call_later(wait_s, self._encode_again, self._newest)

    def close(self) -> None:
        """End the viewers and the thread."""
        self._end_repeat()
        self._paced.close()
        for viewer in self.viewers:
            viewer.close()
        self.viewers.clear()
        self._worker.close()

    @property
    def ended(self) -> asyncio.Future[None]:
        """Done when the thread has ended, after ``close``."""
        return self._worker.ended

    def _encode_again(self, scene: Scene) -> None:
        self._repeat = None
        self._offered_ns = self._clock.monotonic_ns()
        ticks = self._offered_ns * VIDEO_CLOCK_HZ // NANOSECONDS_PER_SECOND
        self._worker.offer((scene, ticks))

    def _end_repeat(self) -> None:
        if self._repeat is not None:
            self._repeat.cancel()
            self._repeat = None

    def _encode(self, moment: tuple[Scene, int]) -> None:
        scene, ticks = moment
        started_ns = self._clock.monotonic_ns()
        canvas = render(scene, self._view, self._width)
        drawn_ns = self._clock.monotonic_ns()
        packets = self._encoder.encode(canvas, ticks)
        self._draw_seconds.observe(ns_to_seconds(drawn_ns - started_ns))
        self._encode_seconds.observe(ns_to_seconds(self._clock.monotonic_ns() - drawn_ns))
        if packets:
            # Bound: one call a picture, and the loop takes them faster than they are encoded.
            self._loop.call_soon_threadsafe(self._fan_out, packets)

    def _fan_out(self, packets: list[VideoPacket]) -> None:
        for packet in packets:
            for viewer in self.viewers:
                viewer.give(packet)
