"""How a stream's starter does, as JSON."""

from __future__ import annotations

from pydantic import Field

from streamer.api.schemas.common import Answer
from streamer.starters.stream_starter import DetectorStatus, StarterState


class StarterAnswer(Answer):
    """How a stream's starter does."""

    kind: str = Field(examples=["motion"])
    state: DetectorStatus
    reason: str | None = Field(examples=[None])
    looks: int
    started: int = Field(description="objects, since it began")
    found: int = Field(description="lost objects that it found again, since it began")
    object_ids: list[int] = Field(description="followed now of those that it started")


def starter_answer(state: StarterState | None) -> StarterAnswer | None:
    """A starter as the API tells it."""
    if state is None:
        return None
    return StarterAnswer(
        kind=state.kind,
        state=state.status,
        reason=state.reason,
        looks=state.passes,
        started=state.started,
        found=state.found,
        object_ids=list(state.object_ids),
    )
