"""The ZeroMQ publisher: the daemon's results for its subscribers (``docs/wire.md``).

An XPUB socket reports subscriptions: messages without a subscriber are not encoded, and a late
subscriber gets the last status and frame of its streams again. A slow subscriber loses its own
messages (its pipe holds ``high_water_mark``) and delays nothing else; the socket does not report
that, the subscriber sees it by ``seq``.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import zmq

from streamer.config.schema import ZeroMQConfig
from streamer.runtime.metrics import Metrics
from streamer.runtime.threads import report_failure
from streamer.sinks.zeromq.bound_socket import BoundSocket
from streamer.sinks.zeromq.published_stream import PublishedStream
from streamer.sinks.zeromq.subscriptions import Subscriptions
from streamer.types import FrameResult, Published, StreamEvent, StreamStatus
from streamer.wire.codec import (
    MaskEncoding,
    Origin,
    Topic,
    TopicKind,
    encode_event,
    encode_frame,
    encode_heartbeat,
    encode_status,
)

# Consumers that subscribe within this time share one replay: a consumer that subscribes again and
# again cannot flood the others.
REPLAY_INTERVAL_S = 0.05
# Masks that cover more pixels than this (0.15 ms as rle) are encoded off the event loop.
INLINE_PIXELS = 250_000
# Bound: streams whose message numbers are kept, running ones always; policy: of those that ended or
# were removed the oldest is forgotten, and restarts at 0 if it is added again.
RECORDS_KEPT = 1024

_log = logging.getLogger(__name__)


class ZeroMQSink:
    """Publishes results, events, states and its own heartbeat on one endpoint.

    Every item takes a number of its topic, with or without subscribers, so that a consumer whose
    connection broke for a while sees that it missed something.
    """

    name = "zeromq"

    def __init__(
        self,
        config: ZeroMQConfig,
        *,
        publisher_id: str,
        metrics: Metrics | None = None,
        status_provider: Callable[[], Iterable[StreamStatus]] = tuple,
        heartbeat_s: float = 1.0,
        status_s: float = 5.0,
    ) -> None:
        """``status_provider`` gives the state of every stream, asked every ``status_s``."""
        self._config = config
        self._encoding = MaskEncoding(config.mask_encoding)
        self._origin = Origin(publisher_id, time.time_ns() // 1_000_000)
        self._metrics = metrics
        self._status_provider = status_provider
        self._heartbeat_s = heartbeat_s
        self._status_s = status_s

        self._subscriptions = Subscriptions()
        self._streams: dict[str, PublishedStream] = {}
        self._heartbeat_seq = 0
        self._joined: set[bytes] = set()
        self._someone_joined = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._bound: BoundSocket | None = None
        # One thread: a sink publishes one item at a time.
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="masklet-zeromq-encode")

    @property
    def endpoint(self) -> str:
        """Where the socket is bound; what was configured while it is not."""
        return self._config.endpoint if self._bound is None else self._bound.endpoint

    @property
    def subscriptions(self) -> int:
        """The number of different topic prefixes subscribed to."""
        return len(self._subscriptions)

    async def start(self) -> None:
        """Bind, and begin to listen for subscriptions and to send heartbeats.

        Raises ``SecurityError`` for an endpoint or keys that are refused and ``ConfigError``
        for an endpoint that cannot be bound.
        """
        bound = self._make_socket()
        await bound.bind()
        self._bound = bound
        self._tasks = [
            asyncio.create_task(self._watch_subscriptions(), name="zeromq-subscriptions"),
            asyncio.create_task(self._replay_to_joiners(), name="zeromq-replay"),
            asyncio.create_task(self._beat(), name="zeromq-heartbeat"),
            asyncio.create_task(self._repeat_statuses(), name="zeromq-status"),
        ]
        for task in self._tasks:
            task.add_done_callback(report_failure)
        _log.info("results are published on %s", bound.described)

    def wants(self, item: Published) -> bool:  # noqa: ARG002 - the protocol's signature
        """True: everything is numbered and remembered; ``publish`` decides what is encoded."""
        return True

    async def publish(self, item: Published) -> None:
        """Number and remember an item, and send it to its subscribers."""
        if isinstance(item, FrameResult):
            await self._publish_frame(item)
        elif isinstance(item, StreamEvent):
            self._publish_event(item)
        else:
            self._publish_status(item)

    async def close(self) -> None:
        """Say ``stopping``, drain for at most ``linger_ms``, release everything."""
        if self._bound is None:
            return
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._send_heartbeat(stopping=True)
        bound, self._bound = self._bound, None
        await bound.close()
        self._encoder.shutdown(wait=False)

    def _make_socket(self) -> BoundSocket:
        bound = BoundSocket(self._config, self._metrics)
        # Bound: this many messages wait per subscriber; policy: the newest is dropped for it.
        bound.socket.sndhwm = self._config.high_water_mark
        # Report every subscription, not only a topic's first: each is a late subscriber.
        bound.socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        return bound

    async def _watch_subscriptions(self) -> None:
        assert self._bound is not None
        bound = self._bound
        while True:
            await asyncio.sleep(0)  # a waiting message is received at once; let other tasks run
            message = await bound.socket.recv(copy=False)
            bound.received(message)
            prefix = self._subscriptions.take(message.bytes)
            if self._metrics is not None:
                self._metrics.zmq_subscribers.set(len(self._subscriptions))
            if prefix is not None:
                self._joined.add(prefix)
                self._someone_joined.set()

    async def _replay_to_joiners(self) -> None:
        """Send the last frame and status of new subscriptions again."""
        while True:
            await self._someone_joined.wait()
            self._someone_joined.clear()
            joined, self._joined = tuple(self._joined), set()
            for stream_id, record in list(self._streams.items()):
                for kind in (TopicKind.FRAME, TopicKind.BOXES, TopicKind.STATUS):
                    if Topic(kind, stream_id).encode().startswith(joined):
                        self._replay(record, kind)
            await asyncio.sleep(REPLAY_INTERVAL_S)

    def _replay(self, record: PublishedStream, kind: TopicKind) -> None:
        if kind is TopicKind.STATUS:
            if record.status is not None:
                parts = encode_status(
                    record.status,
                    origin=self._origin,
                    seq=record.next_seq[kind] - 1,
                    next_seq=record.next_seq,
                    replayed=True,
                )
                self._send(kind, parts)
            return
        last = record.last
        if last is not None:
            parts = encode_frame(
                last.result,
                origin=self._origin,
                seq=last.seq[kind],
                published_clock_ns=lambda: last.published_monotonic_ns,
                encoding=self._encoding,
                kind=kind,
                replayed=True,
            )
            self._send(kind, parts)

    async def _beat(self) -> None:
        while True:
            self._send_heartbeat()
            await asyncio.sleep(self._heartbeat_s)

    async def _repeat_statuses(self) -> None:
        while True:
            await asyncio.sleep(self._status_s)
            for status in self._status_provider():
                self._publish_status(status)

    async def _publish_frame(self, result: FrameResult) -> None:
        stream_id = result.frame.stream_id
        record = self._record(stream_id)
        losses = record.losses_before(result)
        result = replace(result, frame=replace(result.frame, dropped_before=losses))
        messages = {
            kind: await self._encode_frame(result, record, kind)
            for kind in (TopicKind.FRAME, TopicKind.BOXES)
            if self._is_wanted(kind, stream_id)
        }
        # No await from here on: numbers are taken and messages sent in one step.
        record.remember_frame(result, time.monotonic_ns())
        for kind, parts in messages.items():
            self._send(kind, parts)

    async def _encode_frame(
        self, result: FrameResult, record: PublishedStream, kind: TopicKind
    ) -> list[bytes]:
        seq = record.next_seq[kind]

        def encode() -> list[bytes]:
            return encode_frame(
                result,
                origin=self._origin,
                seq=seq,
                published_clock_ns=time.monotonic_ns,
                encoding=self._encoding,
                kind=kind,
            )

        pixels = sum(entry.track.crop.size for entry in result.objects)
        if kind is TopicKind.BOXES or pixels <= INLINE_PIXELS:
            return encode()
        return await asyncio.get_running_loop().run_in_executor(self._encoder, encode)

    def _publish_event(self, event: StreamEvent) -> None:
        record = self._record(event.stream_id)
        seq = record.take_seq(TopicKind.EVENT)
        record.remember_event(event)
        if self._is_wanted(TopicKind.EVENT, event.stream_id):
            self._send(TopicKind.EVENT, encode_event(event, origin=self._origin, seq=seq))

    def _publish_status(self, status: StreamStatus) -> None:
        record = self._record(status.stream_id)
        seq = record.take_seq(TopicKind.STATUS)
        record.remember_status(status)
        if self._is_wanted(TopicKind.STATUS, status.stream_id):
            parts = encode_status(status, origin=self._origin, seq=seq, next_seq=record.next_seq)
            self._send(TopicKind.STATUS, parts)

    def _send_heartbeat(self, stopping: bool = False) -> None:
        seq = self._heartbeat_seq
        self._heartbeat_seq += 1
        if self._is_wanted(TopicKind.HEARTBEAT, None):
            parts = encode_heartbeat(
                origin=self._origin,
                seq=seq,
                time_ns=time.time_ns(),
                interval_s=self._heartbeat_s,
                streams=[name for name, record in self._streams.items() if record.is_known],
                stopping=stopping,
            )
            self._send(TopicKind.HEARTBEAT, parts)

    def _record(self, stream_id: str) -> PublishedStream:
        record = self._streams.get(stream_id)
        if record is None:
            if len(self._streams) >= RECORDS_KEPT:
                gone = next((name for name, each in self._streams.items() if each.is_over), None)
                if gone is not None:
                    del self._streams[gone]
            record = self._streams[stream_id] = PublishedStream()
        return record

    def _is_wanted(self, kind: TopicKind, stream_id: str | None) -> bool:
        return self._subscriptions.wants(Topic(kind, stream_id).encode())

    def _send(self, kind: TopicKind, parts: list[bytes]) -> None:
        """Hand a message to the socket, which takes or drops it at once."""
        assert self._bound is not None
        sent = self._bound.socket.send_multipart(parts, flags=zmq.NOBLOCK)
        assert isinstance(sent, asyncio.Future)
        assert sent.done()
        try:
            sent.result()
        except zmq.Again:
            if self._metrics is not None:
                self._metrics.zmq_messages_dropped.labels(kind.value).inc()
            return
        if self._metrics is not None:
            self._metrics.zmq_messages_sent.labels(kind.value).inc()
