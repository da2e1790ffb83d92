"""Prompts for frames that were tracked already: carried out between two steps, one frame at a time.

A user clicks on a past frame, so the prompt is applied to that frame, and the frames since are
tracked again. That takes the time of a few steps; live streams are stepped between two of them.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import torch

from streamer.errors import ControlError
from streamer.inference.prompts.recent_frames import Holder, RecentFrame
from streamer.inference.prompts.request import PromptRequest
from streamer.inference.prompts.waiting import PROMPTS_WAITING, WITHDRAWN
from streamer.inference.tracked_stream import STEP_ERRORS, TrackedStream
from tracker import Tracker
from tracker.errors import CapacityError, PromptError

_log = logging.getLogger(__name__)


class RetroactivePrompts:
    """Used by the inference thread only. Bound: ``PROMPTS_WAITING`` waiting prompts of all
    streams; policy: a further one is rejected.
    """

    def __init__(self, tracker: Tracker, streams: Mapping[str, TrackedStream]) -> None:
        self._tracker = tracker
        self._streams = streams
        self._waiting: deque[PromptRequest] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def queue(self, request: PromptRequest) -> None:
        """Queue a prompt for the next pause between two steps."""
        if len(self._waiting) < PROMPTS_WAITING:
            self._waiting.append(request)
        else:
            self._reject(request, f"{PROMPTS_WAITING} prompts for earlier frames wait already")

    def withdraw(self, unwanted: Callable[[PromptRequest], bool], reason: str) -> bool:
        """Reject the ``unwanted`` of the waiting prompts; False if there were none."""
        found = [request for request in self._waiting if unwanted(request)]
        self._waiting = deque(request for request in self._waiting if request not in found)
        for request in found:
            self._reject(request, reason)
        return bool(found)

    def carry_out_next(self) -> bool:
        """Carry out the oldest prompt and others for its frame; returns whether more wait."""
        while self._waiting:
            group = self._next_group()
            begun = [request for request in group if self._begins(request)]
            if begun:
                self._carry_out(self._streams[begun[0].stream_id], begun)
                break
        return bool(self._waiting)

    def _next_group(self) -> list[PromptRequest]:
        """The oldest prompt and others that fit into one correction: one per object."""
        first = self._waiting.popleft()
        if first.preview:
            return [first]
        group = {first.prompt.object_id: first}
        rest: deque[PromptRequest] = deque()
        for request in self._waiting:
            alike = (
                request.stream_id == first.stream_id
                and request.reference == first.reference
                and request.correct == first.correct
                and not request.preview
            )
            if alike and request.prompt.object_id not in group:
                group[request.prompt.object_id] = request
            else:
                rest.append(request)
        self._waiting = rest
        return list(group.values())

    def _begins(self, request: PromptRequest) -> bool:
        stream = self._streams.get(request.stream_id)
        if stream is None:
            self._reject(request, f"there is no stream {request.stream_id!r}")
            return False
        if not request.begin():
            self._reject(request, WITHDRAWN)
            return False
        object_id = request.prompt.object_id
        if request.correct and object_id not in stream.session.object_ids:
            self._reject(
                request, f"object {object_id}: it is not tracked, so there is nothing to correct"
            )
            return False
        return True

    def _carry_out(self, stream: TrackedStream, requests: Sequence[PromptRequest]) -> None:
        try:
            frame = stream.frame_of(requests[0].reference)
            self._apply(stream, frame, requests)
        except torch.AcceleratorError as error:
            for request in requests:
                self._reject(request, f"the device is lost: {error}")
            raise
        except (PromptError, CapacityError) as error:
            if len(requests) > 1:  # nothing was changed yet: find the refused one
                for request in requests:
                    self._carry_out(stream, [request])
            else:
                self._reject(requests[0], str(error))
        except ControlError as error:
            for request in requests:
                self._reject(request, str(error))
        except STEP_ERRORS as error:
            _log.exception("%s: a prompt for an earlier frame failed", stream.stream_id)
            for request in requests:
                self._reject(request, f"the tracker failed: {error}")

    def _apply(
        self, stream: TrackedStream, frame: RecentFrame, requests: Sequence[PromptRequest]
    ) -> None:
        first = requests[0]
        if first.preview:
            stream.hold(frame, Holder.PREVIEW)
            track = self._tracker.preview(
                stream.session, first.prompt, frame.tracker_index, anew=not first.correct
            )
            first.applied(frame.index, track)
            return
        correction = self._tracker.correct(
            stream.session,
            [request.prompt for request in requests],
            frame.tracker_index,
            anew=not first.correct,
        )
        stream.corrected(frame, correction, requests)

    def _reject(self, request: PromptRequest, reason: str) -> None:
        stream = self._streams.get(request.stream_id)
        if stream is None or request.preview:  # a preview publishes nothing
            request.rejected(reason)
        else:
            stream.reject(request, reason)
