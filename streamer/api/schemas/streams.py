"""Streams as JSON: what they run with, and how they do.

The limits are those of ``streamer.config``; a test compares them. Where a credential comes from,
and files on the daemon's machine, cannot be said over the API at all.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from streamer.api.schemas.common import (
    Answer,
    Box,
    Label,
    ObjectId,
    Pixel,
    Request,
)
from streamer.api.schemas.starters import (
    Starter,
    StarterAnswer,
    starter_answer,
)
from streamer.config.schema import (
    STREAM_ID,
    StreamConfig,
)
from streamer.starters.stream_starter import StarterState
from streamer.types import StreamState, StreamStatus

StreamId = Annotated[
    str,
    Field(
        pattern=f"^{STREAM_ID.pattern}$",
        description="1 to 64 letters, digits, '-' or '_', beginning with a letter or digit",
        examples=["gate"],
    ),
]
Metre = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Url = Annotated[
    str,
    Field(
        min_length=1,
        max_length=2048,
        description="what may be named is configured in api.url_schemes and api.url_hosts; a "
        "user and password may stand in it, and are never shown",
        examples=["synthetic://match", "rtsp://camera.example.org/live", "whip://"],
    ),
]


class Reconnect(Request):
    """Waits between attempts to connect."""

    initial_s: float = Field(default=1.0, ge=0.05, le=3600, allow_inf_nan=False)
    maximum_s: float = Field(default=60.0, ge=0.05, le=86_400, allow_inf_nan=False)
    factor: float = Field(default=2.0, ge=1, le=10, allow_inf_nan=False)
    jitter: float = Field(default=0.2, ge=0, le=1, allow_inf_nan=False)
    reset_after_s: float = Field(default=30.0, ge=0, le=86_400, allow_inf_nan=False)


class StartingObject(Request):
    """An object to follow from the stream's start."""

    id: ObjectId
    label: Label | None = None
    points: list[tuple[Pixel, Pixel]] = Field(default_factory=list, max_length=256)
    point_labels: list[Literal[0, 1]] = Field(default_factory=list, max_length=256)
    box: Box | None = None
    at_frame: int = Field(default=0, ge=0, le=2**53)


def _without_defaults(schema: dict[str, Any]) -> None:
    """What is not given stays as it is: a default would say otherwise."""
    for property_schema in schema["properties"].values():
        property_schema.pop("default", None)


class Smoothing(Request):
    """How much less boxes and masks tremble, at the price of a lag; may be given in part."""

    boxes: bool = Field(default=False, description="results carry bbox_smooth too")
    box_cutoff_hz: float = Field(default=1.5, ge=0.05, le=100, allow_inf_nan=False)
    box_speed_factor: float = Field(default=4.0, ge=0, le=100, allow_inf_nan=False)
    masks: float = Field(
        default=0.0, ge=0, le=0.45, description="the share that a mask leans on the one before"
    )


class StreamChange(Request):
    """Settings of a stream to change; what is not given stays as it is."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    url: Url = ""
    transport: Literal["tcp", "udp"] = "tcp"
    decoder: Literal["auto", "software", "cuda"] = Field(
        default="auto", description="where video is decoded; cuda: NVDEC, or not at all"
    )
    open_timeout_s: float = Field(default=10.0, ge=0.1, le=300, allow_inf_nan=False)
    read_timeout_s: float = Field(default=5.0, ge=0.1, le=300, allow_inf_nan=False)
    clock_tolerance_s: float = Field(default=10.0, ge=0, le=86_400, allow_inf_nan=False)
    max_rate_hz: Annotated[float, Field(ge=0.01, le=1000, allow_inf_nan=False)] | None = Field(
        default=None, description="frames above this rate are not tracked; null: all are"
    )
    paced: bool = True
    loop: bool = False
    paused: bool = Field(default=False, description="connected, but not tracked")
    max_objects: int = Field(default=16, ge=1, le=64)
    priority: int = Field(
        default=5, ge=0, le=9, description="a higher one goes first when the device is overloaded"
    )
    ground_plane: list[tuple[Pixel, Pixel, Metre, Metre]] = Field(
        default_factory=list,
        max_length=4,
        description="four points [x, y, X, Y] in pixels and metres, or none",
    )
    starter: Starter | None = None
    smoothing: Smoothing = Smoothing()
    reconnect: Reconnect = Reconnect()
    options: dict[str, str] = Field(
        default_factory=dict,
        max_length=16,
        description="of FFmpeg; only some may be set over the API",
        examples=[{"buffer_size": "1048576"}],
    )


class NewStream(StreamChange):
    """A stream to begin."""

    model_config = ConfigDict(json_schema_extra=None)

    id: StreamId
    url: Url
    objects: list[StartingObject] = Field(default_factory=list, max_length=64)


class StreamAnswer(Answer):
    """One stream: how it does, and the settings that a page needs."""

    id: str = Field(examples=["gate"])
    url: str = Field(
        description="without user names, passwords and tokens", examples=["rtsp://camera/live"]
    )
    state: StreamState
    reason: str | None = Field(description="why it is not live", examples=[None])
    detail: str | None = Field(examples=[None])
    session_id: str | None = Field(description="new with every connection")
    width: int = Field(examples=[1280])
    height: int = Field(examples=[720])
    frames_decoded: int
    frames_tracked: int
    frames_dropped: dict[str, int] = Field(examples=[{"superseded": 3}])
    connect_failures: int
    object_ids: list[int] = Field(examples=[[1, 2]])
    paused: bool
    max_objects: int
    priority: int
    ground_plane: list[tuple[float, float, float, float]]
    whip: bool = Field(description="whether a publisher sends it here (WHIP)")
    starter: StarterAnswer | None = Field(
        description="what starts objects by itself; null if nothing does, or no frame came yet"
    )


class StreamsAnswer(Answer):
    """Every stream."""

    streams: list[StreamAnswer]


def stream_answer(
    status: StreamStatus, config: StreamConfig, starter: StarterState | None
) -> StreamAnswer:
    """A stream as the API tells it."""
    return StreamAnswer(
        id=status.stream_id,
        url=status.url,
        state=status.state,
        reason=status.reason,
        detail=status.detail,
        session_id=status.session_id,
        width=status.width,
        height=status.height,
        frames_decoded=status.frames_decoded,
        frames_tracked=status.frames_tracked,
        frames_dropped=status.frames_dropped,
        connect_failures=status.connect_failures,
        object_ids=list(status.object_ids),
        paused=status.paused,
        max_objects=config.max_objects,
        priority=config.priority,
        ground_plane=[(x, y, right, forward) for x, y, right, forward in config.ground_plane],
        whip=config.url.lower().startswith("whip://"),
        starter=starter_answer(starter),
    )


def settings_in(body: BaseModel) -> dict[str, Any]:
    """What was given, as under ``streams.ID`` in a file."""
    return body.model_dump(mode="json", exclude_unset=True, exclude={"id"})
