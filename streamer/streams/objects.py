"""Commands for the objects of all streams: prompt, preview, rename, remove."""

from __future__ import annotations

import asyncio
from typing import Any

from streamer.errors import BusyError, UnknownObjectError, UnknownStreamError
from streamer.inference.object_commands import ObjectCommands
from streamer.inference.prompts.recent_frames import Holder
from streamer.inference.prompts.request import PromptOutcome, PromptRequest, new_request_id
from streamer.inference.segment_searches import FrameSegments, SegmentRequest, load_generator
from streamer.streams.state.keeper import StateKeeper
from streamer.streams.streams import Streams
from streamer.types import FrameReference, ObjectSnapshot, ObjectSummary, StreamState
from tracker import Prompt

# More for a prompt on an earlier frame: hundreds of frames are caught up beside the tracking.
CATCH_UP_S = 20.0


class Objects(ObjectCommands):
    """The objects of all ``streams``. Used on the event loop."""

    def __init__(self, streams: Streams, state: StateKeeper | None) -> None:
        """``state`` is notified of renamed objects; prompts and removals reach it as events."""
        self._streams = streams
        self._state = state

    def of(self, stream_id: str) -> list[ObjectSummary]:
        """As ``ObjectCommands`` defines it."""
        return self._streams.commands(stream_id).objects(stream_id)

    def next_id(self, stream_id: str) -> int:
        """As ``ObjectCommands`` defines it."""
        return self._streams.object_ids(stream_id).next_unused()

    async def prompt(
        self,
        stream_id: str,
        prompt: Prompt,
        label: str | None = None,
        *,
        colour: str | None = None,
        reference: FrameReference | None = None,
        correct: bool = False,
        request_id: str | None = None,
        timeout_s: float = 10.0,
    ) -> PromptOutcome:
        """As ``ObjectCommands`` defines it."""
        self._streams.object_ids(stream_id).use(prompt.object_id)
        request = PromptRequest(
            stream_id,
            prompt,
            label,
            colour=colour,
            reference=reference,
            correct=correct,
            request_id=request_id or new_request_id(),
        )
        return await self._outcome(request, timeout_s)

    async def preview(
        self,
        stream_id: str,
        prompt: Prompt,
        *,
        reference: FrameReference | None = None,
        correct: bool = False,
        timeout_s: float = 10.0,
    ) -> PromptOutcome:
        """As ``ObjectCommands`` defines it."""
        self._streams.config(stream_id)  # raises for an unknown stream
        request = PromptRequest(
            stream_id, prompt, reference=reference, correct=correct, preview=True
        )
        return await self._outcome(request, timeout_s)

    async def segments(
        self,
        stream_id: str,
        *,
        reference: FrameReference | None = None,
        timeout_s: float = 60.0,
        **changes: Any,
    ) -> FrameSegments:
        """As ``ObjectCommands`` defines it."""
        commands = self._streams.commands(stream_id)
        request = SegmentRequest(stream_id, commands.search_options(**changes), reference)
        await asyncio.to_thread(load_generator)
        commands.search(request)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.wrap_future(request.outcome)
        except TimeoutError:
            raise BusyError(
                f"the search took longer than {timeout_s:g} s beside the tracking and was ended; "
                "ask for fewer points_per_side"
            ) from None

    def hold(self, stream_id: str, reference: FrameReference) -> None:
        """As ``ObjectCommands`` defines it."""
        self._streams.commands(stream_id).hold(stream_id, reference, Holder.STARTER)

    async def rename(
        self, stream_id: str, object_id: int, *, label: str | None, colour: str | None
    ) -> None:
        """As ``ObjectCommands`` defines it."""
        commands = self._streams.commands(stream_id)
        renamed = commands.rename_object(stream_id, object_id, label, colour)
        if not await asyncio.wrap_future(renamed):
            raise _unknown_object(stream_id, object_id)
        if self._state is not None:
            self._state.objects_changed(stream_id)

    async def remove(self, stream_id: str, object_id: int) -> None:
        """As ``ObjectCommands`` defines it."""
        commands = self._streams.commands(stream_id)
        if not await asyncio.wrap_future(commands.remove_object(stream_id, object_id)):
            raise _unknown_object(stream_id, object_id)

    async def snapshots(self, stream_id: str) -> list[ObjectSnapshot]:
        """Snapshots of a stream's objects, to resume them after a restart."""
        commands = self._streams.commands(stream_id)
        return await asyncio.wrap_future(commands.object_snapshots(stream_id))

    async def _outcome(self, request: PromptRequest, timeout_s: float) -> PromptOutcome:
        self._streams.commands(request.stream_id).prompt(request)
        if request.is_retroactive:
            timeout_s += CATCH_UP_S
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.wrap_future(request.outcome)
        except TimeoutError:
            if not request.outcome.cancelled():
                reason = f"it was not done within {timeout_s:g} s; an event will report its outcome"
            elif request.is_retroactive:
                reason = f"the tracker did not start it within {timeout_s:g} s"
            else:
                state = self._state_of(request.stream_id)
                reason = f"no frame came within {timeout_s:g} s; the stream is {state}"
            return request.refusal(reason)

    def _state_of(self, stream_id: str) -> StreamState:
        try:
            return self._streams.state(stream_id)
        except UnknownStreamError:  # removed in the meantime
            return StreamState.STOPPED


def _unknown_object(stream_id: str, object_id: int) -> UnknownObjectError:
    return UnknownObjectError(f"stream {stream_id} has no object {object_id}")
