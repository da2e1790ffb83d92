"""Detections that arrive over the API: limited in rate, counted, refusals logged."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError

from streamer.api.schemas.detections import Reason
from streamer.errors import MaskletError, RateError, WireError
from streamer.runtime.clock import Clock, ns_to_seconds
from streamer.runtime.metrics import Metrics
from streamer.runtime.token_buckets import TokenBuckets
from streamer.types import Detection, FrameReference

REPORT_INTERVAL_S = 10.0
# Far more than there can be streams; names that do not exist have a bucket as well.
STREAMS_REMEMBERED = 256
Offer = Callable[[str, FrameReference, Sequence[Detection]], bool]
_log = logging.getLogger(__name__)


class DetectionIntake:
    """Passes messages of detections to the streams' starters, or refuses them.

    ``messages_per_s`` is for each stream, over all connections together, with a burst of one
    second's worth. Refusals are counted by reason, and logged every ``REPORT_INTERVAL_S`` at most.
    """

    def __init__(self, offer: Offer, messages_per_s: float, metrics: Metrics, clock: Clock) -> None:
        """``offer`` gives detections to a stream's starter: False if they replace older ones."""
        self._offer = offer
        self._messages_per_s = messages_per_s
        self._messages = metrics.boxes_messages
        self._clock = clock
        self._buckets = TokenBuckets(messages_per_s, messages_per_s, clock, STREAMS_REMEMBERED)
        self._refused = 0
        self._reported_monotonic_s = -math.inf

    def take_turn(self, stream_id: str) -> None:
        """Count a message for a stream. Raises ``RateError`` when there were too many."""
        wait_s = self._buckets.take(stream_id)
        if wait_s:
            raise RateError(
                f"more than {self._messages_per_s:g} messages a second for stream {stream_id} "
                "(api.limits.detections_per_s)",
                wait_s,
            )

    def offer(
        self, stream_id: str, reference: FrameReference, detections: Sequence[Detection]
    ) -> None:
        """Give all detections on one frame to the stream's starter.

        Raises ``ControlError`` for a stream that takes none, and for a frame that is not known.
        """
        is_first = self._offer(stream_id, reference, detections)
        self._messages.labels("accepted" if is_first else "superseded").inc()

    @contextmanager
    def counting_refusals(self) -> Iterator[None]:
        """Count and log the error that refuses a message, and let it pass."""
        try:
            yield
        except (MaskletError, RequestValidationError, ValidationError) as error:
            self._messages.labels(reason_of(error)).inc()
            self._refused += 1
            now_s = ns_to_seconds(self._clock.monotonic_ns())
            if now_s - self._reported_monotonic_s >= REPORT_INTERVAL_S:
                self._reported_monotonic_s = now_s
                _log.warning(
                    "detections were refused: %s (%d messages since the last report)",
                    detail_of(error),
                    self._refused,
                )
                self._refused = 0
            raise


def reason_of(error: Exception) -> Reason:
    """Why a message was refused, in one word."""
    match error:
        case RateError():
            return "rate"
        case WireError() | RequestValidationError() | ValidationError():
            return "malformed"
    return "unknown"


def detail_of(error: Exception) -> str:
    """Why a message was refused, in a sentence; never repeats what was sent."""
    if isinstance(error, RequestValidationError | ValidationError):
        first = error.errors()[0]
        location = "".join(f"/{part}" for part in first["loc"] if part != "body")
        return f"{location or 'the message'}: {first['msg'].removeprefix('Value error, ')}"
    return str(error)
