"""The prompts of one stream that wait for a coming frame."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from streamer.inference.prompts.request import PromptRequest

PROMPTS_WAITING = 64
WITHDRAWN = "withdrawn: not applied in time"


class WaitingPrompts:
    """Used by the inference thread only.

    Bound: ``PROMPTS_WAITING``; policy: withdrawn ones make room, a further one is rejected.
    """

    def __init__(self, reject: Callable[[PromptRequest, str], None]) -> None:
        """``reject`` rejects a prompt for a reason, and reports it."""
        self._reject = reject
        self._waiting: deque[PromptRequest] = deque()

    def queue(self, request: PromptRequest) -> None:
        """Queue a prompt for its frame."""
        if len(self._waiting) >= PROMPTS_WAITING:
            self._drop_withdrawn()
        if len(self._waiting) < PROMPTS_WAITING:
            self._waiting.append(request)
        else:
            self._reject(request, f"{PROMPTS_WAITING} prompts wait for a frame already")

    def due(self, frame_index: int) -> list[PromptRequest]:
        """Remove and return the prompts for this frame: in order, at most one per object."""
        due: dict[int, PromptRequest] = {}
        later: deque[PromptRequest] = deque()
        for request in self._waiting:
            object_id = request.prompt.object_id
            if request.at_frame > frame_index or object_id in due:
                later.append(request)
            elif request.begin():
                due[object_id] = request
            else:
                self._reject(request, WITHDRAWN)
        self._waiting = later
        return list(due.values())

    def put_back(self, requests: Sequence[PromptRequest]) -> None:
        """Queue requests for the next frame again, before all others."""
        self._waiting.extendleft(reversed(requests))

    def drop(self, object_id: int | None, reason: str) -> bool:
        """Reject the prompts for an object, or (None) all; False if there were none."""
        dropped = [
            request
            for request in self._waiting
            if object_id is None or request.prompt.object_id == object_id
        ]
        self._waiting = deque(request for request in self._waiting if request not in dropped)
        for request in dropped:
            self._reject(request, reason)
        return bool(dropped)

    def _drop_withdrawn(self) -> None:
        """Reject withdrawn prompts: a stream without frames never reaches ``due``."""
        kept: deque[PromptRequest] = deque()
        for request in self._waiting:
            if request.outcome.cancelled():
                self._reject(request, WITHDRAWN)
            else:
                kept.append(request)
        self._waiting = kept
