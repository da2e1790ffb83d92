"""Requests of prompts, their outcomes, and the prompts of the configuration."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from streamer.config.streams import ObjectConfig
from streamer.inference.prompts.mask_file import read_mask
from streamer.types import FrameReference
from tracker.types import Prompt, Track


@dataclass(frozen=True, slots=True)
class PromptOutcome:
    """The outcome of a prompt: the object's track on the prompted frame, or why it was rejected.

    ``latest_track`` is the object on the newest frame, ``latest_frame_index``, tracked there from
    the prompted one; both may be the same frame. A preview has none.
    """

    request_id: str
    stream_id: str
    object_id: int
    applied: bool
    reason: str | None = None
    frame_index: int | None = None
    track: Track | None = None
    latest_frame_index: int | None = None
    latest_track: Track | None = None


def new_request_id() -> str:
    """A unique id."""
    return uuid.uuid4().hex


@dataclass(
    frozen=True, slots=True, eq=False
)  # equality is identity: masks do not compare to a bool
class PromptRequest:
    """A prompt for the next frame of a stream, or its first from index ``at_frame`` on.

    With a ``reference``, or to ``correct`` (refine the object where it was found, instead of
    starting it there), it is for a frame that was tracked already: see ``is_retroactive``.
    A ``preview`` computes the outcome and changes nothing.
    The inference thread sets ``outcome``; cancelling it withdraws a request not yet applied.
    """

    stream_id: str
    prompt: Prompt
    label: str | None = None
    at_frame: int = 0
    colour: str | None = None
    reference: FrameReference | None = None
    correct: bool = False
    preview: bool = False
    request_id: str = field(default_factory=new_request_id)
    outcome: Future[PromptOutcome] = field(default_factory=Future)

    @property
    def is_retroactive(self) -> bool:
        """Whether it is for a frame that was tracked already, not for the next one."""
        return self.reference is not None or self.correct or self.preview

    def begin(self) -> bool:
        """Claim the request; False if it was withdrawn. Once claimed, it cannot be."""
        outcome = self.outcome
        return outcome.running() or (not outcome.done() and outcome.set_running_or_notify_cancel())

    def applied(
        self,
        frame_index: int,
        track: Track | None,
        latest_frame_index: int | None = None,
        latest_track: Track | None = None,
    ) -> None:
        """Set the outcome of an applied prompt."""
        if self.begin():
            self.outcome.set_result(
                PromptOutcome(
                    request_id=self.request_id,
                    stream_id=self.stream_id,
                    object_id=self.prompt.object_id,
                    applied=True,
                    frame_index=frame_index,
                    track=track,
                    latest_frame_index=latest_frame_index,
                    latest_track=latest_track,
                )
            )

    def rejected(self, reason: str) -> None:
        """Set the outcome of a rejected prompt."""
        if self.begin():
            self.outcome.set_result(self.refusal(reason))

    def refusal(self, reason: str) -> PromptOutcome:
        """The outcome of a prompt that was not applied, for a reason."""
        return PromptOutcome(
            request_id=self.request_id,
            stream_id=self.stream_id,
            object_id=self.prompt.object_id,
            applied=False,
            reason=reason,
        )


def configured_prompts(stream_id: str, objects: Sequence[ObjectConfig]) -> list[PromptRequest]:
    """The prompts of a stream's configured objects; reads their mask files.

    Raises ``ConfigError`` for a mask file that cannot be read.
    """
    return [
        PromptRequest(
            stream_id=stream_id,
            prompt=_prompt(f"streams.{stream_id}.objects[{index}]", target),
            label=target.label,
            at_frame=target.at_frame,
        )
        for index, target in enumerate(objects)
    ]


def _prompt(key: str, target: ObjectConfig) -> Prompt:
    if target.mask_file is not None:
        mask = read_mask(f"{key}.mask_file", target.mask_file)
        return Prompt(object_id=target.id, mask=mask)
    box = target.box
    return Prompt(
        object_id=target.id,
        points_xy=tuple((x, y) for x, y in target.points),
        point_labels=tuple(target.point_labels) or (1,) * len(target.points),
        box_xyxy=None if box is None else (box[0], box[1], box[2], box[3]),
    )
