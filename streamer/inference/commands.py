"""Commands from other threads to the inference thread: streams, objects, prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress

from streamer.errors import ControlError
from streamer.inference.box_smoothing import Smoothing
from streamer.inference.command_queue import CommandQueue
from streamer.inference.frame_slot import FrameSlot
from streamer.inference.lifecycle import (
    LifecycleRules,
    ObjectLifecycle,
)
from streamer.inference.load.control import LoadControl
from streamer.inference.prompts.recent_frames import Holder, RecentFrames
from streamer.inference.prompts.request import PromptRequest
from streamer.inference.retroactive_prompts import RetroactivePrompts
from streamer.inference.stream_counts import StreamCounts
from streamer.inference.tracked_stream import TrackedStream
from streamer.runtime.clock import (
    Clock,
    seconds_to_ns,
)
from streamer.runtime.metrics import Metrics
from streamer.types import FrameReference, ObjectSnapshot, ObjectSummary, Published
from tracker import Tracker
from tracker.errors import CapacityError

FASTEST_STREAM_HZ = 120  # how many frames a second of history may have, at most


class InferenceCommands:
    """Queues each command; the inference thread carries it out between two steps, in order.

    Where too much waits already (``CommandQueue``) the methods raise ``BusyError``.
    """

    def __init__(
        self,
        tracker: Tracker,
        queue: CommandQueue,
        streams: dict[str, TrackedStream],
        retroactive: RetroactivePrompts,
        load: LoadControl,
        *,
        wake: Callable[[], None],
        publish: Callable[[Published], None],
        metrics: Metrics,
        clock: Clock,
        lifecycle: LifecycleRules,
        history_s: float,
        history_bytes: int,
    ) -> None:
        """``streams`` are the inference thread's own, by id; ``wake`` wakes that thread.

        Frames of the last ``history_s`` can be prompted, as far as they fit ``history_bytes``
        for each stream.
        """
        self._tracker = tracker
        self._queue = queue
        self._streams = streams
        self._retroactive = retroactive
        self._load = load
        self.wake = wake
        self._publish = publish
        self._metrics = metrics
        self._clock = clock
        self._lifecycle = lifecycle
        self._history_ns = seconds_to_ns(history_s)
        self._history_frames = 1 + math.ceil(history_s * FASTEST_STREAM_HZ)
        self._history_bytes = history_bytes

    def add_stream(
        self,
        slot: FrameSlot,
        counts: StreamCounts,
        max_objects: int,
        requests: Sequence[PromptRequest],
        priority: int = 0,
    ) -> Future[None]:
        """Track what comes through ``slot``, with ``requests`` waiting for their frames."""

        def add() -> None:
            stream = TrackedStream(
                self._tracker.open_session(
                    max_objects=max_objects,
                    history_frames=self._history_frames,
                    history_bytes=self._history_bytes,
                ),
                slot,
                counts,
                ObjectLifecycle(self._lifecycle),
                RecentFrames(self._history_ns),
                publish=self._publish,
                metrics=self._metrics,
                clock=self._clock,
            )
            left = self._streams.pop(slot.stream_id, None)
            if left is not None:  # one whose beginning was given up, and that could not be removed
                left.close("stream_removed")
            self._streams[slot.stream_id] = stream
            self._load.prioritise(slot.stream_id, priority)
            for request in requests:
                stream.prompts.queue(request)

        return self._queue.add(add)

    def remove_stream(self, stream_id: str, reason: str) -> Future[None]:
        """Remove a stream with its objects; unknown ones are gone already."""

        def remove() -> None:
            self._retroactive.withdraw(
                lambda request: request.stream_id == stream_id,
                f"the stream was removed ({reason})",
            )
            stream = self._streams.pop(stream_id, None)
            if stream is not None:
                stream.close(reason)
                self._load.forget(stream_id)

        return self._queue.add(remove)

    def change_stream(
        self,
        stream_id: str,
        *,
        max_objects: int | None = None,
        priority: int | None = None,
        smoothing: Smoothing | None = None,
    ) -> Future[None]:
        """Let a stream follow more objects, or fewer (no fewer than it follows now), serve it
        before those of a lower priority, let its results tremble less: all of it or nothing.

        None leaves what it has.
        """

        def change() -> None:
            stream = self._streams.get(stream_id)
            if stream is None:
                return
            followed = len(stream.session.object_ids)
            if max_objects is not None:
                if max_objects < followed:
                    raise CapacityError(
                        f"stream {stream_id} follows {followed} objects: max_objects "
                        f"{max_objects} is too few; remove objects first"
                    )
                stream.session.max_objects = max_objects
            if priority is not None:
                self._load.prioritise(stream_id, priority)
            if smoothing is not None:
                stream.smooth(smoothing.boxes, smoothing.masks)

        return self._queue.add(change)

    def object_snapshots(self, stream_id: str) -> Future[list[ObjectSnapshot]]:
        """A stream's objects as they can be gone on with after a restart."""

        def export() -> list[ObjectSnapshot]:
            stream = self._streams.get(stream_id)
            return [] if stream is None else stream.snapshots()

        return self._queue.add(export)

    def restore(self, stream_id: str, snapshot: ObjectSnapshot) -> Future[None]:
        """Go on with an object of an earlier run, from the stream's next frame on."""

        def restore() -> None:
            self._streams[stream_id].restore(snapshot)

        return self._queue.add(restore)

    def prompt(self, request: PromptRequest) -> None:
        """Apply a prompt on the frame it is for; ``request.outcome`` tells."""

        def queue() -> None:
            stream = self._streams.get(request.stream_id)
            if stream is None:
                request.rejected(f"there is no stream {request.stream_id!r}")
            elif request.is_retroactive:
                self._retroactive.queue(request)
            else:
                stream.prompts.queue(request)

        self._queue.add(queue)

    def hold(self, stream_id: str, reference: FrameReference, holder: Holder) -> Future[None]:
        """Keep a frame promptable for a while, for one who looks at it; one that is gone is not."""

        def hold() -> None:
            stream = self._streams.get(stream_id)
            if stream is not None:
                with suppress(ControlError):
                    stream.hold(stream.frame_of(reference), holder)

        return self._queue.add(hold)

    def objects(self, stream_id: str) -> list[ObjectSummary]:
        """The objects of a stream as its newest frame had them; none for an unknown stream."""
        stream = self._streams.get(stream_id)
        return [] if stream is None else stream.objects()

    def rename_object(
        self, stream_id: str, object_id: int, label: str | None, colour: str | None
    ) -> Future[bool]:
        """Name or colour an object anew; the future says whether there was one."""

        def rename() -> bool:
            stream = self._streams.get(stream_id)
            return stream is not None and stream.rename(object_id, label, colour)

        return self._queue.add(rename)

    def remove_object(self, stream_id: str, object_id: int) -> Future[bool]:
        """Stop following an object; the future says whether there was one."""

        def remove() -> bool:
            stream = self._streams.get(stream_id)
            withdrawn = self._retroactive.withdraw(
                lambda request: (
                    (request.stream_id, request.prompt.object_id) == (stream_id, object_id)
                ),
                "the object was removed",
            )
            return (stream is not None and stream.remove(object_id)) or withdrawn

        return self._queue.add(remove)
