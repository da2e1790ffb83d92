"""The starter of a stream as JSON: what it may start, and how it does.

The limits are those of ``streamer.config.starters``; a test compares them. What names a file, a
device or code of the daemon's machine cannot be said over the API.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from streamer.api.schemas.common import (
    Answer,
    Label,
    Pixel,
    Request,
)
from streamer.config.published_detectors import PUBLISHED_DETECTORS
from streamer.starters.stream_starter import StarterStanding, StarterState

_DETECTORS = tuple(PUBLISHED_DETECTORS)


class Starter(Request):
    """What starts objects by itself on this stream; may be given in part.

    Null: what the configuration says for all streams.
    """

    kind: Literal["none", "motion", "torchvision", "boxes"] = "none"
    rate_hz: Annotated[float, Field(ge=0.01, le=60, allow_inf_nan=False)] | None = Field(
        default=None, description="looks a second; null: what suits the kind"
    )
    labels: list[Label] = Field(
        default_factory=list, max_length=128, description="only these; none: all"
    )
    label: Label | None = Field(default=None, description="the name of what comes without one")
    minimum_score: float = Field(default=0.5, ge=0, le=1, allow_inf_nan=False)
    minimum_hits: int = Field(default=3, ge=1, le=100)
    minimum_area: float = Field(default=0.0005, ge=0, le=1, allow_inf_nan=False)
    maximum_area: float = Field(default=0.5, ge=0, le=1, allow_inf_nan=False)
    region: list[tuple[Pixel, Pixel]] = Field(default_factory=list, max_length=64)
    keep_off_border: bool | None = None
    match_iou: float = Field(default=0.3, ge=0.05, le=0.95, allow_inf_nan=False)
    maximum_objects: Annotated[int, Field(ge=1, le=64)] | None = None
    ignore_removed_s: float = Field(default=30.0, ge=0, le=86_400, allow_inf_nan=False)
    find_lost: bool = True
    lost_wait_s: float = Field(default=1.0, ge=0, le=3600, allow_inf_nan=False)
    remove_lost_s: float = Field(default=10.0, ge=0, le=86_400, allow_inf_nan=False)
    timeout_s: float = Field(default=10.0, ge=0.1, le=300, allow_inf_nan=False)
    model: str = Field(
        default=_DETECTORS[0],
        json_schema_extra={"enum": list(_DETECTORS)},
        description="of kind torchvision",
    )


class StarterAnswer(Answer):
    """How a stream's starter does."""

    kind: str = Field(examples=["motion"])
    state: StarterStanding
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
        state=state.standing,
        reason=state.reason,
        looks=state.looks,
        started=state.started,
        found=state.found,
        object_ids=list(state.object_ids),
    )
