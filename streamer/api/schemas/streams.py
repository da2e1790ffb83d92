"""Streams as JSON: their settings and their state.

Settings and limits are those of the configuration. Where a credential comes from, and files on the
daemon's machine, cannot be named over the API.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from streamer.api.schemas.common import Answer
from streamer.api.schemas.starters import StarterAnswer, starter_answer
from streamer.config.messages import WrongSettingError
from streamer.config.stream_id import StreamId
from streamer.config.streams import ObjectSettings, StreamAddress, StreamConfig, StreamSettings
from streamer.runtime.address import MAXIMUM_CHARACTERS, Address
from streamer.starters.starter_state import StarterState
from streamer.types import StreamState, StreamStatus
from streamer.wire.fields import status_fields


def _is_absolute(address: Address) -> Address:
    if address.scheme == "file" and not address.path.startswith("/"):
        raise WrongSettingError(
            "must be an absolute path: the daemon does not know the folder where it was typed"
        )
    return address


Url = Annotated[
    StreamAddress,
    AfterValidator(_is_absolute),
    WithJsonSchema(
        {
            "type": "string",
            "minLength": 1,
            "maxLength": MAXIMUM_CHARACTERS,
            "description": "what may be named is configured in api.url_schemes and api.url_hosts; "
            "a user and password may stand in it, and are never shown",
            "examples": ["synthetic://match", "rtsp://camera.example.org/live", "whip://"],
        }
    ),
]


class NewStream(StreamSettings):
    """A stream to add."""

    id: StreamId
    url: Url
    objects: list[ObjectSettings] = Field(default=[], max_length=64)


def _without_defaults(schema: dict[str, Any]) -> None:
    """What is not given does not change: a default would contradict that."""
    for property_schema in schema["properties"].values():
        property_schema.pop("default", None)


class StreamChange(StreamSettings):
    """Settings of a stream to change; what is not given does not change."""

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    url: Url = Address("whip")


class StreamAnswer(Answer):
    """One stream: its state, and the settings that a page needs."""

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
        description="null: the stream has no starter, or no frame came yet"
    )


class StreamsAnswer(Answer):
    """Every stream."""

    streams: list[StreamAnswer]


def stream_answer(
    status: StreamStatus, config: StreamConfig, starter: StarterState | None
) -> StreamAnswer:
    """The response body of a stream."""
    return StreamAnswer(
        id=status.stream_id,
        **status_fields(status),
        max_objects=config.max_objects,
        priority=config.priority,
        ground_plane=[(x, y, right, forward) for x, y, right, forward in config.ground_plane],
        whip=config.url.scheme == "whip",
        starter=starter_answer(starter),
    )


def settings_in(body: BaseModel) -> dict[str, Any]:
    """The given settings, as under ``streams.ID`` in a file."""
    return body.model_dump(mode="json", exclude_unset=True, exclude={"id"})
