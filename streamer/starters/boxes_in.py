"""The socket that detectors elsewhere send their boxes to: a ROUTER, one message at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

import msgspec
import zmq

from streamer.config.starters import BoxesInConfig
from streamer.errors import ControlError, WireError, WireVersionError
from streamer.runtime.metrics import Metrics
from streamer.sinks.zeromq.bound_socket import BoundSocket
from streamer.starters.boxes_message import (
    BoxesAnswer,
    BoxesMessage,
    decode_boxes,
    detections_of,
    request_id_of,
)
from streamer.starters.detection import Detection
from streamer.starters.turns import Turns
from streamer.types import FrameReference

# Bound: so many messages of each detector wait for us; policy of ZeroMQ: it waits with more.
MESSAGES_WAITING = 4
# Bound: so many answers wait for a detector that does not read them; policy of ZeroMQ's ROUTER:
# further ones are dropped.
ANSWERS_WAITING = 64
# Who sent it, and what a REQ socket puts before its message; proxies add a part each. They are
# kept, to be sent back with the answer; of a message that has more nothing is kept.
ENVELOPE_PARTS = 8
ENVELOPE_BYTES = 1024
# Parts of such a message that are thrown away before others have their turn on the event loop.
PARTS_AT_ONCE = 256
# After a message that came too soon: a flood has no processor to itself, and others wait for one
# message of each sender that floods.
PAUSE_S = 0.001
LINGER_MS = 200
REPORT_INTERVAL_S = 10.0
Offer = Callable[[str, FrameReference, Sequence[Detection]], bool]
StreamsTaking = Callable[[], int]
_log = logging.getLogger(__name__)


class BoxesIn:
    """Takes messages of boxes and offers them to the streams' starters.

    What is refused is counted by its reason, answered with a sentence, and reported in the log
    every ``REPORT_INTERVAL_S`` at most. Rules of binding and keys are those of the results.
    """

    def __init__(
        self, config: BoxesInConfig, offer: Offer, streams_taking: StreamsTaking, metrics: Metrics
    ) -> None:
        """``offer`` gives a stream's starter boxes; False says that they replaced others.
        ``streams_taking`` says how many streams take any.
        """
        self._config = config
        self._offer = offer
        self._streams_taking = streams_taking
        self._metrics = metrics
        self._turns_of_stream = Turns()
        self._turns_of_connection = Turns()
        self._bound: BoundSocket | None = None
        self._refused = 0
        self._reported_monotonic_s = -REPORT_INTERVAL_S

    @property
    def endpoint(self) -> str:
        """Where the socket is bound; what was configured while it is not."""
        return self._config.endpoint if self._bound is None else self._bound.endpoint

    async def start(self) -> None:
        """Bind. Raises ``SecurityError`` and ``ConfigError`` as the publisher does."""
        message_bytes = self._config.message_bytes
        bound = BoundSocket(
            zmq.ROUTER,
            self._config,
            "boxes_in",
            linger_ms=LINGER_MS,
            message_bytes=message_bytes,
            unfinished_bytes=(MESSAGES_WAITING + 2) * message_bytes,
            on_ended=self._ended,
        )
        bound.socket.rcvhwm, bound.socket.sndhwm = MESSAGES_WAITING, ANSWERS_WAITING
        await bound.bind()
        self._bound = bound
        _log.info("boxes are taken on %s", bound.described)

    async def run(self) -> None:
        """Take messages until cancelled."""
        assert self._bound is not None, "the socket was not bound"
        while True:
            await self._take_next(self._bound)

    async def _take_next(self, bound: BoundSocket) -> None:
        await asyncio.sleep(0)  # a message that waits is received at once, and others want a turn
        received = await self._receive(bound)
        if received is None:
            return
        envelope, payload = received
        if self._turns_of_connection.allows(envelope[0], time.monotonic(), self._connection_hz):
            answer = await self._take(payload)
        else:
            answer = self._refuse(
                request_id_of(payload),
                "rate",
                f"more than boxes_in.messages_per_s ({self._config.messages_per_s:g}) for each "
                "stream that takes boxes, over one connection",
            )
        if answer.reason == "rate":
            await asyncio.sleep(PAUSE_S)
        if answer.request_id is not None or not answer.accepted:
            await bound.socket.send_multipart([*envelope, msgspec.msgpack.encode(answer)])

    @property
    def _connection_hz(self) -> float:
        """What a detector for all streams needs, and one stream's share for names that are none."""
        return self._config.messages_per_s * (1 + self._streams_taking())

    async def _receive(self, bound: BoundSocket) -> tuple[list[bytes], bytes] | None:
        """A message's envelope and its last part; None for one that has too many or large parts."""
        socket = bound.socket
        envelope: list[bytes] = []
        parts = envelope_bytes = 0
        while True:
            part = await socket.recv(copy=False)
            parts += 1
            if not socket.getsockopt(zmq.RCVMORE):
                break
            envelope_bytes += len(part)
            if parts <= ENVELOPE_PARTS and envelope_bytes <= ENVELOPE_BYTES:
                envelope.append(part.bytes)
            elif parts % PARTS_AT_ONCE == 0:
                await asyncio.sleep(0)
        bound.finished(part)
        if parts > ENVELOPE_PARTS + 1 or envelope_bytes > ENVELOPE_BYTES:
            self._refuse(
                None,
                "parts",
                f"a message of {parts} parts, {envelope_bytes} bytes before the last; "
                f"{ENVELOPE_PARTS} parts of {ENVELOPE_BYTES} bytes together may stand there",
            )
            return None
        return envelope, part.bytes

    async def close(self) -> None:
        """Release everything."""
        if self._bound is not None:
            bound, self._bound = self._bound, None
            await bound.close()

    async def _take(self, payload: bytes) -> BoxesAnswer:
        try:
            message = decode_boxes(payload)
            if not self._turns_of_stream.allows(
                message.stream_id, time.monotonic(), self._config.messages_per_s
            ):
                return self._refuse(
                    message.request_id,
                    "rate",
                    f"more than boxes_in.messages_per_s ({self._config.messages_per_s:g}) for "
                    f"stream {message.stream_id}",
                )
            fresh = self._offer(message.stream_id, _moment(message), await _detections_of(message))
        except WireVersionError as error:
            return self._refuse(request_id_of(payload), "version", str(error))
        except WireError as error:
            return self._refuse(request_id_of(payload), "malformed", str(error))
        except ControlError as error:
            return self._refuse(message.request_id, "unknown", str(error))
        self._metrics.boxes_messages.labels("accepted" if fresh else "superseded").inc()
        return BoxesAnswer(accepted=True, request_id=message.request_id)

    def _ended(self, received_bytes: int) -> None:
        self._refuse(None, "endless", f"a message without an end, {received_bytes} bytes so far")

    def _refuse(self, request_id: str | None, reason: str, detail: str) -> BoxesAnswer:
        self._metrics.boxes_messages.labels(reason).inc()
        self._refused += 1
        now_s = time.monotonic()
        if now_s - self._reported_monotonic_s >= REPORT_INTERVAL_S:
            self._reported_monotonic_s = now_s
            _log.warning(
                "boxes were refused: %s (%d messages since the last report)", detail, self._refused
            )
            self._refused = 0
        return BoxesAnswer(accepted=False, request_id=request_id, reason=reason, detail=detail)


def _moment(message: BoxesMessage) -> FrameReference:
    return FrameReference(
        frame_index=message.frame_index,
        capture_time_ns=message.capture_time_ns,
        session_id=message.session_id,
    )


async def _detections_of(message: BoxesMessage) -> list[Detection]:
    """Masks are decoded off the event loop: many large ones take a good part of a second."""
    if any(entry.mask is not None for entry in message.boxes):
        return await asyncio.to_thread(detections_of, message)
    return detections_of(message)
