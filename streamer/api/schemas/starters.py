"""The state of a stream's starter as JSON."""

from __future__ import annotations

from pydantic import Field

from streamer.api.schemas.common import Answer
from streamer.starters.starter_state import DetectorStatus, StarterState


class StarterAnswer(Answer):
    """The state of a stream's starter."""

    kind: str = Field(examples=["motion"])
    state: DetectorStatus
    reason: str | None = Field(examples=[None])
    looks: int
    started: int = Field(description="objects, since it began")
    found: int = Field(description="lost objects that it found again, since it began")
    object_ids: list[int] = Field(description="those that it started and that are tracked now")


def starter_answer(state: StarterState | None) -> StarterAnswer | None:
    """The response body of a starter."""
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
