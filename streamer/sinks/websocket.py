"""Results for WebSockets: every reader gets a stream's frames, events and states as JSON.

Each item is encoded once for every mask encoding in use, not once per reader.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from streamer.runtime.clock import Clock
from streamer.runtime.metrics import Metrics
from streamer.sinks.json_messages import JsonMasks, json_event, json_frame, json_status, json_text
from streamer.types import FrameResult, Published, StreamEvent, StreamState, StreamStatus

FRAMES_PER_READER = 2
OTHERS_PER_READER = 64
# Bound: last states of streams that did not stop; far more than can run.
STATES_KEPT = 256
# Masks that cover more pixels than this (0.15 ms as rle) are encoded off the event loop.
INLINE_PIXELS = 250_000


class ResultsReader:
    """One stream's messages for one socket: ``async for text in reader``.

    Bounds: ``FRAMES_PER_READER`` frames and ``OTHERS_PER_READER`` events and states wait; policy:
    the oldest of its sort is dropped for a new one, and counted. Used on the event loop.
    """

    def __init__(self, stream_id: str, masks: JsonMasks, metrics: Metrics) -> None:
        self.stream_id = stream_id
        self.masks = masks
        self.stream_is_gone = False
        self.dropped = 0
        self._dropped_frames = metrics.sink_items_dropped.labels("websocket", "frame")
        self._dropped_others = metrics.sink_items_dropped.labels("websocket", "event")
        self._waiting: deque[tuple[bool, str]] = deque()
        self._filled = asyncio.Event()
        self._closed = False

    def give(self, text: str, *, is_frame: bool) -> None:
        """Queue a message, dropping another by the policy."""
        of_its_sort = [index for index, each in enumerate(self._waiting) if each[0] is is_frame]
        if len(of_its_sort) >= (FRAMES_PER_READER if is_frame else OTHERS_PER_READER):
            del self._waiting[of_its_sort[0]]
            self.dropped += 1
            (self._dropped_frames if is_frame else self._dropped_others).inc()
        self._waiting.append((is_frame, text))
        self._filled.set()

    def close(self) -> None:
        """End the iteration after the queued messages."""
        self._closed = True
        self._filled.set()

    def __len__(self) -> int:
        return len(self._waiting)

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._filled.clear()
            await self._filled.wait()
        return self._waiting.popleft()[1]


class ResultsHub:
    """Gives every reader of a stream its results, events and states. A sink."""

    name = "websocket"

    def __init__(self, metrics: Metrics, clock: Clock) -> None:
        self._metrics = metrics
        self._clock = clock
        self._readers: dict[str, set[ResultsReader]] = {}
        self._states: dict[str, StreamStatus] = {}
        # One thread: a sink publishes one item at a time.
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="masklet-json-encode")

    async def start(self) -> None:
        """Nothing to open."""

    def wants(self, item: Published) -> bool:
        """States always; frames and events of streams that have readers."""
        return isinstance(item, StreamStatus) or _stream_of(item) in self._readers

    async def publish(self, item: Published) -> None:
        """Encode an item and queue it for its readers."""
        if isinstance(item, StreamStatus):
            self._remember(item)
        readers = self._readers.get(_stream_of(item), set())
        if isinstance(item, FrameResult):
            for masks in {reader.masks for reader in readers}:
                text = await self._encode_frame(item, masks)
                for reader in [each for each in readers if each.masks is masks]:
                    reader.give(text, is_frame=True)
            return
        text = json_text(json_event(item) if isinstance(item, StreamEvent) else json_status(item))
        for reader in readers:
            reader.give(text, is_frame=False)
        if isinstance(item, StreamStatus) and item.state is StreamState.STOPPED:
            for reader in readers:
                reader.stream_is_gone = True
                reader.close()

    async def close(self) -> None:
        """End every reader."""
        self.end_readers()
        self._encoder.shutdown(wait=False, cancel_futures=True)

    def end_readers(self) -> None:
        """Let every reader end after its queued messages: the daemon stops."""
        for readers in self._readers.values():
            for reader in readers:
                reader.close()

    @contextmanager
    def read(self, stream_id: str, masks: JsonMasks) -> Iterator[ResultsReader]:
        """A reader until the end of the block; it ends by itself when the stream is stopped."""
        reader = ResultsReader(stream_id, masks, self._metrics)
        if (status := self._states.get(stream_id)) is not None:
            reader.give(json_text(json_status(status)), is_frame=False)
        readers = self._readers.setdefault(stream_id, set())
        readers.add(reader)
        try:
            yield reader
        finally:
            readers.discard(reader)
            if not readers and self._readers.get(stream_id) is readers:
                del self._readers[stream_id]

    def _remember(self, status: StreamStatus) -> None:
        self._states.pop(status.stream_id, None)
        if status.state is not StreamState.STOPPED:
            self._states[status.stream_id] = status
            if len(self._states) > STATES_KEPT:
                del self._states[next(iter(self._states))]

    async def _encode_frame(self, result: FrameResult, masks: JsonMasks) -> str:
        pixels = sum(entry.track.crop.size for entry in result.objects)
        if masks is JsonMasks.NONE or pixels <= INLINE_PIXELS:
            return self._frame_text(result, masks)
        return await asyncio.get_running_loop().run_in_executor(
            self._encoder, self._frame_text, result, masks
        )

    def _frame_text(self, result: FrameResult, masks: JsonMasks) -> str:
        return json_text(json_frame(result, masks, self._clock))


def _stream_of(item: Published) -> str:
    return item.frame.stream_id if isinstance(item, FrameResult) else item.stream_id
