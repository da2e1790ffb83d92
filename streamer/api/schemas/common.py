"""The base of the API's JSON bodies, the types they share, and the daemon's description.

NaN, Infinity and values out of range are refused here; the daemon decides what is possible with a
given stream.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from streamer.config.section import Pixel


def _is_box(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError("a box is x0, y0, x1, y1 with x0 < x1 and y0 < y1")
    return box


Box = Annotated[
    tuple[Pixel, Pixel, Pixel, Pixel],
    AfterValidator(_is_box),
    Field(
        description="half-open x0, y0, x1, y1; what lies outside of the picture is cut off",
        examples=[[100, 80, 180, 260]],
    ),
]


class Request(BaseModel):
    """Base of request bodies: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class Answer(BaseModel):
    """Base of response bodies."""

    model_config = ConfigDict(frozen=True)


class Health(Answer):
    """Whether the daemon is alive, or ready."""

    status: str = Field(examples=["ready"])


class Limits(Answer):
    """The daemon's limits."""

    streams: int
    objects: int = Field(description="of all streams together")
    body_bytes: int
    open_streams: int = Field(description="event, picture and result streams at once")
    viewers: int = Field(description="WebRTC viewers at once")
    publishers: int = Field(description="WebRTC publishers at once")
    history_s: float = Field(description="how old a frame may be that a prompt is applied to")


class Info(Answer):
    """This daemon, and the client's rights."""

    version: str = Field(examples=["0.1.0"])
    model: str = Field(examples=["nano"])
    device: str = Field(examples=["cpu"])
    epoch: str = Field(description="new with every start of the daemon", examples=["3f9c0a1b"])
    secure: bool = Field(description="whether you reached it over TLS")
    open: bool = Field(description="whether no token is needed")
    scopes: list[str] = Field(description="what this client may do", examples=[["control", "read"]])
    streams: tuple[str, ...] | None = Field(
        description="the streams that this client's token is bound to; null: every stream",
        examples=[None, ["gate", "yard-*"]],
    )
    url_schemes: list[str] = Field(description="what an added stream's URL may begin with")
    limits: Limits


class Login(Answer):
    """The client that is logged in."""

    name: str = Field(description="the token's name", examples=["operator"])
    scopes: list[str] = Field(examples=[["control", "read"]])
