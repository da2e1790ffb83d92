"""The socket that detectors elsewhere send their boxes to: a ROUTER, one message at a time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

import msgspec
import zmq
import zmq.asyncio

from streamer.errors import ControlError, WireError, WireVersionError
from streamer.keepalive import notice_dead_peers
from streamer.metrics import Metrics
from streamer.sinks.bind import bind_socket, check_bind, is_ipv6
from streamer.sinks.curve_gate import CurveGate, make_gate
from streamer.starters.boxes_message import (
    BoxesAnswer,
    BoxesMessage,
    decode_boxes,
    detections_of,
    request_id_of,
)
from streamer.starters.detection import Detection
from streamer.starters.settings import BoxesInConfig
from streamer.starters.turns import Turns
from streamer.types import FrameMoment

# Bound: so many messages wait for us, and so many answers for one detector that does not read
# them; policy of ZeroMQ's ROUTER: a detector waits with more, further answers are dropped.
HIGH_WATER_MARK = 64
# Who sent it, and what a REQ socket puts before its message; proxies add a part each.
ENVELOPE_PARTS = 8
LINGER_MS = 200
REPORT_INTERVAL_S = 10.0
Offer = Callable[[str, FrameMoment, Sequence[Detection]], bool]
_SECTION = "boxes_in"
_log = logging.getLogger(__name__)


class BoxesIn:
    """Takes messages of boxes and offers them to the streams' starters.

    What is refused is counted by its reason, answered with a sentence, and reported in the log
    every ``REPORT_INTERVAL_S`` at most. Rules of binding and keys are those of the results.
    """

    def __init__(self, config: BoxesInConfig, offer: Offer, metrics: Metrics) -> None:
        """``offer`` gives a stream's starter boxes; False says that they replaced others."""
        self._config = config
        self._offer = offer
        self._metrics = metrics
        self._turns = Turns(config.messages_per_s)
        self._context: zmq.asyncio.Context | None = None
        self._socket: zmq.asyncio.Socket | None = None
        self._gate: CurveGate | None = None
        self._refused = 0
        self._reported_monotonic_s = -REPORT_INTERVAL_S

    @property
    def endpoint(self) -> str:
        """Where the socket is bound; what was configured while it is not."""
        if self._socket is None:
            return self._config.endpoint
        return self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

    async def start(self) -> None:
        """Bind. Raises ``SecurityError`` and ``ConfigError`` as the publisher does."""
        config = self._config
        encrypted = config.server_key_file is not None or config.client_keys_directory is not None
        check_bind(config.endpoint, encrypted, _SECTION)
        self._context = zmq.asyncio.Context()
        self._socket = socket = self._context.socket(zmq.ROUTER)
        socket.linger = LINGER_MS
        socket.rcvhwm = socket.sndhwm = HIGH_WATER_MARK
        socket.setsockopt(zmq.MAXMSGSIZE, config.message_bytes)
        socket.setsockopt(zmq.IPV6, int(is_ipv6(config.endpoint)))
        notice_dead_peers(socket)
        try:
            if encrypted:
                self._gate = make_gate(
                    self._context,
                    socket,
                    config.server_key_file,
                    config.client_keys_directory,
                    _SECTION,
                )
                self._gate.start()
            bind_socket(socket, config.endpoint, _SECTION)
        except BaseException:
            await self.close()
            raise
        suffix = " (CURVE, keys of the allow-list only)" if encrypted else ""
        _log.info("boxes are taken on %s%s", self.endpoint, suffix)

    async def run(self) -> None:
        """Take messages until cancelled."""
        assert self._socket is not None, "the socket was not bound"
        while True:
            *envelope, payload = await self._socket.recv_multipart()
            if len(envelope) > ENVELOPE_PARTS:  # it would be sent back with the answer
                self._refuse(None, "malformed", f"a message of {len(envelope)} parts")
                continue
            answer = await self._take(payload)
            if answer.request_id is not None or not answer.accepted:
                await self._socket.send_multipart([*envelope, msgspec.msgpack.encode(answer)])

    async def close(self) -> None:
        """Release everything."""
        if self._socket is not None:
            self._socket.close(linger=LINGER_MS)
            self._socket = None
        if self._gate is not None:
            self._gate.stop()
            self._gate = None
        if self._context is not None:
            await asyncio.to_thread(self._context.term)
            self._context = None

    async def _take(self, payload: bytes) -> BoxesAnswer:
        try:
            message = decode_boxes(payload)
            if not self._turns.allows(message.stream_id, time.monotonic()):
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


def _moment(message: BoxesMessage) -> FrameMoment:
    return FrameMoment(
        frame_index=message.frame_index,
        capture_time_ns=message.capture_time_ns,
        session_id=message.session_id,
    )


async def _detections_of(message: BoxesMessage) -> list[Detection]:
    """Masks are decoded off the event loop: many large ones take a good part of a second."""
    if any(entry.mask is not None for entry in message.boxes):
        return await asyncio.to_thread(detections_of, message)
    return detections_of(message)
