"""What the API, the starters and other callers can ask of a stream's objects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from streamer.inference.prompts.request import PromptOutcome
from streamer.inference.segment_searches import FrameSegments
from streamer.types import FrameReference, ObjectSummary
from tracker.types import Prompt


class ObjectCommands(Protocol):
    """Implemented by ``streams.objects.Objects``; used on the event loop.

    Every method raises ``UnknownStreamError`` for an unknown stream, and all but ``of`` and
    ``next_id`` raise ``BusyError`` when too many commands wait for the tracker.
    """

    def of(self, stream_id: str) -> Sequence[ObjectSummary]:
        """The objects of a stream, as on its newest frame."""

    def next_id(self, stream_id: str) -> int:
        """The smallest id, from 1 on, that no object of this stream ever had.

        ``prompt`` reserves the id of its prompt, before it waits for anything.
        """

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
        """Apply a prompt on the stream's next frame, or on the frame of ``reference``.

        ``correct`` refines a tracked object where it was found on that frame (without a
        reference: the newest); otherwise the object starts there, anew if it was tracked. The
        outcome is the object's track on that frame and on the newest, or the reason for a
        rejection; a prompt that was not started within ``timeout_s``, on an earlier frame 20 s
        more, is withdrawn.
        The events ``prompt_applied`` and ``prompt_rejected`` carry ``request_id``.
        """

    async def preview(
        self,
        stream_id: str,
        prompt: Prompt,
        *,
        reference: FrameReference | None = None,
        correct: bool = False,
        timeout_s: float = 10.0,
    ) -> PromptOutcome:
        """The outcome ``prompt`` would have on that frame (without a reference: the newest).

        Changes and publishes nothing. The frame is kept for half a minute, so that the prompt
        can be confirmed with the outcome's ``frame_index``; the next preview on another frame
        releases it.
        """

    async def segments(
        self,
        stream_id: str,
        *,
        reference: FrameReference | None = None,
        timeout_s: float = 60.0,
        **changes: Any,
    ) -> FrameSegments:
        """Everything on the newest frame, or that of ``reference``; nothing is tracked.

        The frame is kept for half a minute, so that a segment can be tracked from it. ``changes``:
        of ``GeneratorOptions`` that suit the model. Raises ``RateError`` while the stream is being
        searched, ``ControlError`` without a frame or if it takes longer than ``timeout_s``.
        """

    def hold(self, stream_id: str, reference: FrameReference) -> None:
        """Keep the frame of a starter's detection pass promptable until its next pass.

        Half a minute at most. If the frame is gone already, prompts for it are rejected.
        """

    async def rename(
        self, stream_id: str, object_id: int, *, label: str | None, colour: str | None
    ) -> None:
        """Change an object's label or colour; None keeps the old one, "" removes it.

        Raises ``UnknownObjectError``.
        """

    async def remove(self, stream_id: str, object_id: int) -> None:
        """Stop tracking an object. Raises ``UnknownObjectError``."""
