"""What goes over the API as JSON: requests and answers, with their limits and examples."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """Base of answers."""

    model_config = ConfigDict(frozen=True)


class Health(Answer):
    """That the daemon is alive, or ready."""

    status: str = Field(examples=["ready"])


class Limits(Answer):
    """How much the daemon takes."""

    streams: int
    objects: int = Field(description="of all streams together")
    body_bytes: int
    open_streams: int = Field(description="event, picture and result streams at once")
    viewers: int = Field(description="WebRTC viewers at once")
    publishers: int = Field(description="WebRTC publishers at once")
    history_s: float = Field(description="how old a frame may be that a prompt is applied to")


class Info(Answer):
    """What this daemon is, and what the client may do."""

    version: str = Field(examples=["0.1.0"])
    model: str = Field(examples=["nano"])
    device: str = Field(examples=["cpu"])
    epoch: str = Field(description="new with every start of the daemon", examples=["3f9c0a1b"])
    secure: bool = Field(description="whether this server speaks TLS")
    open: bool = Field(description="whether no token is needed")
    scopes: list[str] = Field(description="what this client may do", examples=[["control", "read"]])
    url_schemes: list[str] = Field(description="what an added stream's URL may begin with")
    limits: Limits
