"""A video file as a source: in real time like a camera, or lossless at the tracker's pace."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Generator
from dataclasses import replace

from streamer.sources.base import SourceOutput
from streamer.sources.container import VideoContainer
from streamer.sources.opening import ContainerSettings
from streamer.sources.presentation_time import DiscontinuityWatch, Pacer
from streamer.sources.read_deadline import ReadDeadline
from streamer.types import ClockSource, DecodedFrame


class FileSource:
    """Plays a file once, or in a loop for ever.

    Paced, a frame is delivered when it is due; otherwise the source is lossless: it delivers every
    frame, each once the previous one was taken. In a loop, presentation times continue from one
    round to the next: a consumer sees one endless clip, without a reset. The capture time is the
    file's clock: the start of playback plus the time into the clip.
    """

    def __init__(self, settings: ContainerSettings, *, paced: bool, loop: bool) -> None:
        self._settings = settings
        self.deadline = ReadDeadline()
        self._paced = paced
        self._loop = loop
        self.lossless = not paced
        self.redacted_url = settings.redacted_url

    def run(self, output: SourceOutput, stop: threading.Event) -> None:
        """Deliver to the end of the file (with ``loop``: until ``stop``)."""
        pacer = Pacer() if self._paced else None
        watch = DiscontinuityWatch()
        origin = (time.time_ns(), 0.0)
        is_first = True
        with (
            self.deadline.ends_reads(stop),
            contextlib.closing(self._frames(output, stop)) as frames,
        ):
            for frame, pts in frames:
                presentation_s = float(pts * frame.time_base)
                # Files are read faster than they play: only presentation times show a jump.
                jump = watch.observe(presentation_s, 0.0)
                if jump is not None:
                    output.reset(jump)
                late_s = pacer.wait(presentation_s, stop) if pacer is not None else 0.0
                if stop.is_set():
                    return
                arrival_time_ns, arrival_monotonic_ns = time.time_ns(), time.monotonic_ns()
                if is_first or jump is not None or pacer is not None:
                    origin = (arrival_time_ns - round(late_s * 1e9), presentation_s)
                    is_first = False
                output.frame(
                    replace(
                        frame,
                        pts=pts,
                        capture_time_ns=origin[0] + round((presentation_s - origin[1]) * 1e9),
                        clock_source=ClockSource.FILE,
                        arrival_time_ns=arrival_time_ns,
                        arrival_monotonic_ns=arrival_monotonic_ns,
                        decoded_monotonic_ns=time.monotonic_ns(),
                    )
                )

    def _frames(
        self, output: SourceOutput, stop: threading.Event
    ) -> Generator[tuple[DecodedFrame, int]]:
        """Frames, each with its presentation time over all rounds of the loop."""
        next_pts = 0
        shift: int | None = 0  # None: this round's first frame gets the next presentation time
        while True:
            with VideoContainer(self._settings, self.deadline) as container:
                interval_s = container.frame_interval_s
                for frame, _ in container.frames(output, stop):
                    if frame.pts is None:
                        pts = next_pts
                    else:
                        if shift is None:
                            shift = next_pts - frame.pts
                        pts = frame.pts + shift
                    next_pts = pts + max(1, round(interval_s / frame.time_base))
                    yield frame, pts
            if not self._loop or stop.is_set():
                return
            shift = None
