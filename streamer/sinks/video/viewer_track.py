"""A viewer's encoded packets as a track that aiortc sends."""

from __future__ import annotations

from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from streamer.runtime.clock import Clock, ns_to_seconds
from streamer.sinks.video.encoder import VideoPacket
from streamer.sinks.video.video_channel import Viewer


class ViewerTrack(MediaStreamTrack):
    """A viewer's packets as a track to send; ends with the viewer."""

    kind = "video"

    def __init__(self, viewer: Viewer, clock: Clock) -> None:
        super().__init__()
        self._viewer = viewer
        self._clock = clock
        # When the first packet after the last report was sent.
        self._unheard_since_ns: int | None = None

    async def recv(self) -> VideoPacket:
        """The next packet; called by aiortc, again and again."""
        packet = await self._viewer.read()
        if packet is None:
            self.stop()
            raise MediaStreamError
        if self._unheard_since_ns is None:
            self._unheard_since_ns = self._clock.monotonic_ns()
        return packet

    def heard_of(self) -> None:
        """Note a report of the receiver."""
        self._unheard_since_ns = None

    def unheard_s(self) -> float:
        """For how long packets were sent without any report; an idle stream needs none."""
        if self._unheard_since_ns is None:
            return 0.0
        return ns_to_seconds(self._clock.monotonic_ns() - self._unheard_since_ns)
