"""The publisher's memory of one stream: message numbers, last frame and last status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from streamer.types import (
    DropReason,
    EventKind,
    FrameResult,
    RgbPixels,
    StreamEvent,
    StreamState,
    StreamStatus,
)
from streamer.wire.messages import TopicKind

UNPUBLISHED = "unpublished"
# Reasons for which a frame that has an index can be lost before it is tracked.
_INDEXED_LOSSES = (DropReason.RATE_LIMIT, DropReason.SUPERSEDED, DropReason.FAILED)
_KINDS = (TopicKind.FRAME, TopicKind.BOXES, TopicKind.EVENT, TopicKind.STATUS)


@dataclass(frozen=True, slots=True)
class LastFrame:
    """A published result without its picture: its numbers, and when."""

    result: FrameResult
    seq: Mapping[TopicKind, int]
    published_monotonic_ns: int


class PublishedStream:
    """Numbers the messages of one stream's topics and keeps its last status and frame.

    Bound: one status and the masks of one frame. The numbers outlive the stream (``is_over``), so
    that a stream that is removed and added again continues its numbers.
    """

    def __init__(self) -> None:
        self.next_seq: dict[str, int] = {kind.value: 0 for kind in _KINDS}
        self.status: StreamStatus | None = None
        self.last: LastFrame | None = None
        self.is_over = False

    @property
    def is_known(self) -> bool:
        """Whether the stream has a status; not after it was stopped."""
        return self.status is not None or self.last is not None

    def take_seq(self, kind: TopicKind) -> int:
        """Take the next number of a topic."""
        seq = self.next_seq[kind.value]
        self.next_seq[kind.value] = seq + 1
        return seq

    def losses_before(self, result: FrameResult) -> dict[str, int]:
        """Frames lost since the previous result, by reason.

        Results that were replaced by newer ones on their way to the publisher leave a hole in
        the frame numbers, which is counted as ``unpublished``.
        """
        losses = dict(result.frame.dropped_before)
        if self.last is not None:
            between = result.frame.index - self.last.result.frame.index - 1
            unpublished = between - sum(losses.get(reason, 0) for reason in _INDEXED_LOSSES)
            if unpublished > 0:
                losses[UNPUBLISHED] = unpublished
        return losses

    def remember_frame(self, result: FrameResult, published_monotonic_ns: int) -> None:
        """Use up a number of both frame topics and keep the result.

        A result that was still queued when its stream ended is not kept.
        """
        seq = {kind: self.take_seq(kind) for kind in (TopicKind.FRAME, TopicKind.BOXES)}
        if not self.is_over:
            self.last = LastFrame(_without_image(result), seq, published_monotonic_ns)

    def remember_event(self, event: StreamEvent) -> None:
        """Remove a removed object from the last frame, so that late subscribers do not get it."""
        if event.kind is EventKind.REMOVED and self.last is not None:
            left = tuple(
                entry
                for entry in self.last.result.objects
                if entry.track.object_id != event.object_id
            )
            self.last = replace(self.last, result=replace(self.last.result, objects=left))

    def remember_status(self, status: StreamStatus) -> None:
        """Keep the status; drop the last frame of an ended stream, and all of a stopped one."""
        self.status = None if status.state is StreamState.STOPPED else status
        self.is_over = status.state in (StreamState.STOPPED, StreamState.ENDED)
        if self.is_over:
            self.last = None


def _without_image(result: FrameResult) -> FrameResult:
    """The same result, its picture replaced by one of the same shape that takes no memory."""
    picture = result.frame.picture
    blank = np.broadcast_to(np.uint8(0), (picture.pixels.height, picture.pixels.width, 3))
    picture = replace(picture, pixels=RgbPixels(blank))
    return replace(result, frame=replace(result.frame, picture=picture))
