"""The results of a daemon as a typed iterator, sync or async.

    with Subscriber("tcp://127.0.0.1:5555", streams=["gate"], topics=("frame",)) as messages:
        for message in messages:
            for entry in message.objects:
                mask = message.mask(entry)          # (height, width) bool, the whole frame
                rle = message.coco_rle(entry)       # {"size": [h, w], "counts": bytes}
            detections = to_supervision(message)    # supervision.Detections

Losses are counted by topic from the sequence numbers of the messages (``Subscriber.lost``); a
restart of the publisher shows in its epoch. A broken connection is restored automatically.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Self

import numpy as np
import zmq
import zmq.asyncio

from streamer.client.sequence import Gap, SequenceTracker
from streamer.errors import ConfigError
from streamer.runtime.curve_keys import KeyPair, load_key_pair, load_public_key
from streamer.runtime.sockets import notice_dead_peers
from streamer.wire.codec import FrameMessage, HeartbeatMessage, Message, Topic, TopicKind, decode

if TYPE_CHECKING:
    import supervision

__all__ = ["Gap", "Subscriber", "to_supervision"]

HIGH_WATER_MARK = 64
LARGEST_PORT = 65_535


class Subscriber:
    """Messages of one publisher, decoded, in order, without duplicates.

    Bounds: ``high_water_mark`` messages wait in the socket; when it is full the publisher drops
    the newest for us, which is counted when the next one arrives. One thread or task reads.
    """

    def __init__(
        self,
        endpoint: str,
        streams: Sequence[str] | None = None,
        topics: Sequence[str] = ("frame", "event", "status"),
        *,
        server_key: Path | str | bytes | None = None,
        client_keys: Path | str | KeyPair | None = None,
        latest_only: bool = False,
        high_water_mark: int = HIGH_WATER_MARK,
        on_gap: Callable[[Gap], None] | None = None,
        on_restart: Callable[[], None] | None = None,
    ) -> None:
        """Connect; a publisher that is not there yet is no error.

        ``streams`` None is all of them. ``server_key`` is the publisher's public key (Z85 or a
        ``.key`` file) and ``client_keys`` our own pair (a ``.key_secret`` file): both or none.
        ``latest_only`` skips frames that are older than the newest one that arrived; all events
        and states are kept. ``on_gap`` is called for every loss, ``on_restart`` when the
        publisher was started again, each before the message that showed it is returned.
        """
        kinds = [_topic_kind(name) for name in topics]
        if (server_key is None) != (client_keys is None):
            raise ConfigError("CURVE needs both: the server's public key and the client's own pair")
        self._wanted = frozenset(kinds)
        self._latest_only = latest_only
        self._high_water_mark = high_water_mark
        self._on_gap = on_gap
        self._on_restart = on_restart
        self._sequence = SequenceTracker()
        self._ready: deque[Message] = deque()
        self._skipped = 0
        self._stopping = False
        self._last_arrival_monotonic_s: float | None = None
        self._async_socket: zmq.asyncio.Socket | None = None

        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        try:
            self._connect(endpoint, high_water_mark, server_key, client_keys)
        except BaseException:
            self.close()
            raise
        # Heartbeats are always received: they show a restart and the end.
        for kind in {*kinds, TopicKind.HEARTBEAT}:
            for stream_id in streams if streams is not None else (None,):
                every_stream = stream_id is None or kind is TopicKind.HEARTBEAT
                self._socket.subscribe(Topic(kind, None if every_stream else stream_id).encode())

    @property
    def lost(self) -> Mapping[str, int]:
        """Messages that never arrived, by topic."""
        return MappingProxyType(self._sequence.lost)

    @property
    def restarts(self) -> int:
        """How often the publisher was started again."""
        return self._sequence.restarts

    @property
    def skipped(self) -> int:
        """Frames skipped because a newer one had arrived (``latest_only``)."""
        return self._skipped

    @property
    def publisher_stopping(self) -> bool:
        """Whether the publisher announced that it stops, and nothing has arrived since."""
        return self._stopping

    @property
    def silent_for_s(self) -> float | None:
        """Seconds since anything arrived, heartbeats included; None if nothing ever did."""
        if self._last_arrival_monotonic_s is None:
            return None
        return time.monotonic() - self._last_arrival_monotonic_s

    def receive(self, timeout_s: float | None = None) -> Message | None:
        """The next message; None when ``timeout_s`` passed without one.

        Raises ``WireVersionError`` for a publisher of another major version and ``WireError``
        for a malformed message; the next call continues with the next message.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        self._pass_over_old()
        while not self._ready:
            if not self._socket.poll(_milliseconds_until(deadline_s)):
                return None
            self._take_arrived()
        return self._ready.popleft()

    async def receive_async(self, timeout_s: float | None = None) -> Message | None:
        """``receive`` for an event loop; use the same loop for every call."""
        if self._async_socket is None:
            self._async_socket = zmq.asyncio.Socket(self._socket)
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        self._pass_over_old()
        while not self._ready:
            if not await self._async_socket.poll(_milliseconds_until(deadline_s)):
                return None
            self._take_arrived()
        return self._ready.popleft()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message:
        message = self.receive()
        assert message is not None, "without a timeout receive waits for a message"
        return message

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        message = await self.receive_async()
        assert message is not None, "without a timeout receive waits for a message"
        return message

    def close(self) -> None:
        """Disconnect. Messages that wait in the socket are dropped."""
        if self._async_socket is not None:
            self._async_socket.close(linger=0)
        self._socket.close(linger=0)
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _connect(
        self,
        endpoint: str,
        high_water_mark: int,
        server_key: Path | str | bytes | None,
        client_keys: Path | str | KeyPair | None,
    ) -> None:
        _check_port(endpoint)
        socket = self._socket
        socket.rcvhwm = high_water_mark
        notice_dead_peers(socket)
        socket.setsockopt(zmq.IPV6, int(endpoint.startswith("tcp://[")))
        if server_key is not None and client_keys is not None:
            pair = client_keys if isinstance(client_keys, KeyPair) else load_key_pair(client_keys)
            socket.curve_serverkey = load_public_key(server_key)
            socket.curve_publickey = pair.public
            socket.curve_secretkey = pair.secret
        try:
            socket.connect(endpoint)
        except zmq.ZMQError as error:
            raise ConfigError(
                f"endpoint {endpoint!r} cannot be connected to ({error.strerror}); give "
                "tcp://HOST:PORT or ipc:///PATH"
            ) from error

    def _pass_over_old(self) -> None:
        """With ``latest_only``: read what arrived while the consumer was busy."""
        if self._latest_only and self._ready:
            self._take_arrived()

    def _take_arrived(self) -> None:
        """Read one message, or with ``latest_only`` all that wait (CONFLATE breaks multipart).

        Bound: ``high_water_mark`` events and states wait here for a consumer that is slow.
        """
        for _ in range(2 * self._high_water_mark if self._latest_only else 1):
            if len(self._ready) >= self._high_water_mark:
                return
            try:
                parts = self._socket.recv_multipart(flags=zmq.NOBLOCK)
            except zmq.Again:
                return
            self._take(parts)

    def _take(self, parts: list[bytes]) -> None:
        self._last_arrival_monotonic_s = time.monotonic()
        message = decode(parts)
        topic = message.topic
        header = message.header if isinstance(message, FrameMessage) else message
        self._stopping = isinstance(message, HeartbeatMessage) and message.state == "stopping"
        arrival = self._sequence.observe(topic, header)
        if arrival.restarted and self._on_restart is not None:
            self._on_restart()
        if self._on_gap is not None:
            for gap in arrival.gaps:
                self._on_gap(gap)
        if arrival.is_duplicate or topic.kind not in self._wanted:
            return
        if self._latest_only and isinstance(message, FrameMessage):
            self._drop_older(topic)
        self._ready.append(message)

    def _drop_older(self, topic: Topic) -> None:
        """Keep at most one waiting frame per topic; the rest are events and states."""
        for index, waiting in enumerate(self._ready):
            if isinstance(waiting, FrameMessage) and waiting.topic == topic:
                del self._ready[index]
                self._skipped += 1
                return


def _check_port(endpoint: str) -> None:
    """ZeroMQ accepts any number as a port, and then nothing ever arrives."""
    port = endpoint.rpartition(":")[2]
    if endpoint.startswith("tcp://") and port.isdigit() and not 0 < int(port) <= LARGEST_PORT:
        raise ConfigError(
            f"endpoint {endpoint!r} has no port between 1 and {LARGEST_PORT}; give tcp://HOST:PORT"
        )


def to_supervision(message: FrameMessage) -> supervision.Detections:
    """The visible objects of a frame as ``supervision.Detections``, with masks.

    Every message of a topic has the same fields, with no rows where nothing is visible.
    ``tracker_id`` is the object's id, ``data["class_name"]`` its label or ``""``; there are no
    classes, so ``class_id`` is 0. ``mask`` is None in ``boxes`` messages, and where the daemon
    publishes none (``zeromq.mask_encoding: none``).
    Needs the package ``supervision`` (``pip install 'masklet[supervision]'``).
    """
    import supervision

    seen = [entry for entry in message.objects if entry.area > 0]
    count = len(seen)
    has_masks = message.topic.kind is TopicKind.FRAME and message.header.has_masks
    shape = (count, message.header.height, message.header.width)
    masks = [message.mask(entry) for entry in seen] if has_masks else []
    return supervision.Detections(
        xyxy=np.array([entry.bbox for entry in seen], dtype=np.float32).reshape(count, 4),
        mask=np.array(masks, dtype=np.bool_).reshape(shape) if has_masks else None,
        confidence=np.array([entry.score for entry in seen], dtype=np.float32),
        class_id=np.zeros(count, dtype=np.int64),
        tracker_id=np.array([entry.id for entry in seen], dtype=np.int64),
        data={"class_name": np.array([entry.label or "" for entry in seen], dtype=np.str_)},
    )


def _topic_kind(name: str) -> TopicKind:
    try:
        return TopicKind(name)
    except ValueError as error:
        known = ", ".join(TopicKind)
        raise ConfigError(f"topic {name!r} is unknown; there are {known}") from error


def _milliseconds_until(deadline_s: float | None) -> int | None:
    if deadline_s is None:
        return None
    return max(0, round((deadline_s - time.monotonic()) * 1000))
