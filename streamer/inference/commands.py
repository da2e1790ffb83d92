"""Commands from other threads to the inference thread: streams, objects, prompts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from streamer.errors import ControlError
from streamer.inference.box_smoothing import Smoothing
from streamer.inference.command_queue import CommandQueue
from streamer.inference.frame_slot import FrameSlot
from streamer.inference.lifecycle import LifecycleRules, ObjectLifecycle
from streamer.inference.load.control import LoadControl
from streamer.inference.prompts.recent_frames import Holder, RecentFrames
from streamer.inference.prompts.request import PromptRequest
from streamer.inference.retroactive_prompts import RetroactivePrompts
from streamer.inference.segment_searches import SegmentRequest, SegmentSearches
from streamer.inference.stream_counts import StreamCounts
from streamer.inference.tracked_stream import TrackedStream
from streamer.runtime.clock import Clock, seconds_to_ns
from streamer.runtime.metrics import Metrics
from streamer.types import FrameReference, ObjectSnapshot, ObjectSummary, Published
from tracker import GeneratorOptions, Tracker
from tracker.errors import CapacityError

FASTEST_STREAM_HZ = 120  # upper bound on the frames in a second of history


class InferenceCommands:
    """Queues commands; the inference thread carries them out between two steps, in order.

    The methods raise ``BusyError`` when the queue is full (``CommandQueue``).
    """

    def __init__(
        self,
        tracker: Tracker,
        queue: CommandQueue,
        streams: dict[str, TrackedStream],
        retroactive: RetroactivePrompts,
        searches: SegmentSearches,
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
        self._searches = searches
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
        """Track the frames of ``slot``; ``requests`` wait for theirs."""

        def add() -> None:
            stream = TrackedStream(
                self._tracker.open_session(
                    max_objects=max_objects,
                    history_frames=self._history_frames,
                    history_bytes=self._history_bytes,
                    needs_positive=True,
                ),
                slot,
                counts,
                ObjectLifecycle(self._lifecycle),
                RecentFrames(self._history_ns),
                publish=self._publish,
                metrics=self._metrics,
                clock=self._clock,
            )
            stale = self._streams.pop(slot.stream_id, None)
            if stale is not None:  # its start was abandoned, and removing it was refused as busy
                stale.close("stream_removed")
            self._streams[slot.stream_id] = stream
            self._load.prioritise(slot.stream_id, priority)
            for request in requests:
                stream.prompts.queue(request)

        return self._queue.add(add)

    def remove_stream(self, stream_id: str, reason: str) -> Future[None]:
        """Remove a stream with its objects; an unknown stream is no error."""

        def remove() -> None:
            self._retroactive.withdraw(
                lambda request: request.stream_id == stream_id,
                f"the stream was removed ({reason})",
            )
            self._searches.withdraw(
                lambda each: each == stream_id, f"the stream was removed ({reason})"
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
        """Change a stream's bound on objects, its priority or its smoothing: all or nothing.

        None keeps a setting. ``max_objects`` below the objects tracked now is refused.
        """

        def change() -> None:
            stream = self._streams.get(stream_id)
            if stream is None:
                return
            tracked = len(stream.session.object_ids)
            if max_objects is not None:
                if max_objects < tracked:
                    raise CapacityError(
                        f"stream {stream_id} tracks {tracked} objects: max_objects must be at "
                        f"least that, got {max_objects}; remove objects first"
                    )
                stream.session.max_objects = max_objects
            if priority is not None:
                self._load.prioritise(stream_id, priority)
            if smoothing is not None:
                stream.smooth(smoothing.boxes, smoothing.masks)

        return self._queue.add(change)

    def object_snapshots(self, stream_id: str) -> Future[list[ObjectSnapshot]]:
        """Snapshots of a stream's objects, for ``restore`` after a restart."""

        def export() -> list[ObjectSnapshot]:
            stream = self._streams.get(stream_id)
            return [] if stream is None else stream.snapshots()

        return self._queue.add(export)

    def restore(self, stream_id: str, snapshot: ObjectSnapshot) -> Future[None]:
        """Resume an object of an earlier run, from the stream's next frame on."""

        def restore() -> None:
            self._streams[stream_id].restore(snapshot)

        return self._queue.add(restore)

    def prompt(self, request: PromptRequest) -> None:
        """Apply a prompt on its frame; the result goes to ``request.outcome``."""

        def queue() -> None:
            stream = self._streams.get(request.stream_id)
            if stream is None:
                request.rejected(f"there is no stream {request.stream_id!r}")
            elif request.is_retroactive:
                self._retroactive.queue(request)
            else:
                stream.prompts.queue(request)

        self._queue.add(queue)

    def search_options(self, **changes: Any) -> GeneratorOptions:
        """What a search looks for by default, and ``changes``; fewer points on a processor."""
        side = 16 if self._tracker.device.type == "cpu" else 32
        given = {"points_per_side": side} | changes
        return GeneratorOptions.suited(self._tracker.config.name, **given)

    def search(self, request: SegmentRequest) -> None:
        """Find everything on the newest frame of a stream; see ``request.outcome``."""
        self._queue.add(lambda: self._searches.begin(request))

    def hold(self, stream_id: str, reference: FrameReference, holder: Holder) -> Future[None]:
        """Keep a frame promptable for a while; one that is gone already stays gone."""

        def hold() -> None:
            stream = self._streams.get(stream_id)
            if stream is not None:
                with suppress(ControlError):
                    stream.hold(stream.frame_of(reference), holder)

        return self._queue.add(hold)

    def objects(self, stream_id: str) -> list[ObjectSummary]:
        """The objects of a stream on its newest frame; none for an unknown stream."""
        stream = self._streams.get(stream_id)
        return [] if stream is None else stream.objects()

    def rename_object(
        self, stream_id: str, object_id: int, label: str | None, colour: str | None
    ) -> Future[bool]:
        """Change an object's label or colour; the future holds whether it existed."""

        def rename() -> bool:
            stream = self._streams.get(stream_id)
            return stream is not None and stream.rename(object_id, label, colour)

        return self._queue.add(rename)

    def remove_object(self, stream_id: str, object_id: int) -> Future[bool]:
        """Stop tracking an object; the future holds whether it existed."""

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
