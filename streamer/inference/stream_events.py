"""Publishes the events of one stream, and the outcomes of its prompts."""

from __future__ import annotations

import logging
from collections.abc import Callable

from streamer.inference.prompts.request import PromptRequest
from streamer.runtime.clock import Clock
from streamer.runtime.logs import stream_logger
from streamer.runtime.metrics import Metrics
from streamer.types import EventKind, Published, StreamEvent

_logger = logging.getLogger(__name__)


class StreamEvents:
    """Used by the inference thread only. ``label_of`` returns an object's label."""

    def __init__(
        self,
        stream_id: str,
        label_of: Callable[[int], str | None],
        *,
        publish: Callable[[Published], None],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._stream_id = stream_id
        self._label_of = label_of
        self._publish = publish
        self._metrics = metrics
        self._clock = clock
        self._log = stream_logger(_logger, stream_id)

    def publish(
        self,
        kind: EventKind,
        *,
        reason: str | None = None,
        object_id: int | None = None,
        request_id: str | None = None,
        frame_index: int | None = None,
        detail: str | None = None,
        absent_s: float | None = None,
    ) -> None:
        """Publish an event with the current time."""
        self._publish(
            StreamEvent(
                stream_id=self._stream_id,
                kind=kind,
                time_ns=self._clock.unix_ns(),
                reason=reason,
                object_id=object_id,
                label=None if object_id is None else self._label_of(object_id),
                request_id=request_id,
                frame_index=frame_index,
                detail=detail,
                absent_s=absent_s,
            )
        )

    def applied(self, request: PromptRequest, frame_index: int) -> None:
        """Report an applied prompt; the caller sets its outcome."""
        object_id = request.prompt.object_id
        self._metrics.prompts.labels("applied").inc()
        self._log.info("prompt for object %d applied on frame %d", object_id, frame_index)
        self.publish(
            EventKind.PROMPT_APPLIED,
            object_id=object_id,
            request_id=request.request_id,
            frame_index=frame_index,
        )

    def rejected(self, request: PromptRequest, reason: str) -> None:
        """Report a rejected prompt, and set its outcome."""
        object_id = request.prompt.object_id
        self._metrics.prompts.labels("rejected").inc()
        self._log.warning("prompt for object %d rejected: %s", object_id, reason)
        self.publish(
            EventKind.PROMPT_REJECTED,
            object_id=object_id,
            request_id=request.request_id,
            reason=reason,
        )
        request.rejected(reason)
