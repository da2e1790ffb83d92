"""Every refusal of the HTTP server, as problem details (RFC 9457).

A refusal is raised as ``ProblemError`` anywhere under the server and written as
``application/problem+json`` in one place. ``type`` is a URN with a short stable name for
programs; ``detail`` is for people and never holds what a client sent as a secret.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:masklet:problem:"


@dataclass(frozen=True, slots=True)
class InvalidField:
    """An invalid value of a request: its place (RFC 6901 for bodies), and the reason."""

    location: str
    detail: str


class InvalidFieldModel(BaseModel):
    """An invalid value of a request."""

    location: str = Field(examples=["/points/0/x", "query stream"])
    detail: str = Field(examples=["Input should be a finite number"])


class ProblemModel(BaseModel):
    """Why a request was refused (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:masklet:problem:unknown_stream", "about:blank"])
    title: str = Field(examples=["Unknown stream"])
    status: int = Field(ge=400, le=599, examples=[404])
    detail: str = Field(examples=["there is no stream 'gate'; streams here: yard"])
    instance: str | None = Field(default=None, examples=["/v1/streams/gate"])
    errors: list[InvalidFieldModel] | None = None


@dataclass(eq=False)
class ProblemError(Exception):
    """A request that is refused.

    ``kind`` names the problem within its status (``prompt_rejected``); None: the status is enough.
    ``extensions`` are further members of the document (RFC 9457, section 3.2).
    """

    status: int
    detail: str
    kind: str | None = None
    title: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    errors: Sequence[InvalidField] = ()
    extensions: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.detail)

    def document(self, instance: str | None) -> dict[str, Any]:
        """The members of the problem document; ``instance`` is the path that was asked for."""
        document: dict[str, Any] = {
            "type": "about:blank" if self.kind is None else TYPE_PREFIX + self.kind,
            "title": self.title or self._default_title(),
            "status": self.status,
            "detail": self.detail,
        }
        if instance is not None:
            document["instance"] = instance
        if self.errors:
            document["errors"] = [
                {"location": each.location, "detail": each.detail} for each in self.errors
            ]
        return document | dict(self.extensions)

    def response(self, instance: str | None = None) -> Response:
        """The HTTP response."""
        body = json.dumps(self.document(instance), ensure_ascii=True).encode("ascii")
        return Response(
            body,
            status_code=self.status,
            headers={"Cache-Control": "no-store", **self.headers},
            media_type=MEDIA_TYPE,
        )

    def _default_title(self) -> str:
        if self.kind is not None:
            return self.kind.replace("_", " ").capitalize()
        return HTTPStatus(self.status).phrase


def unauthenticated(detail: str, error: str | None = None) -> ProblemError:
    """401: no credential, or an invalid one (RFC 6750, section 3)."""
    challenge = 'Bearer realm="masklet"'
    if error is not None:
        challenge += f', error="{error}"'
    return ProblemError(401, detail, "unauthenticated", headers={"WWW-Authenticate": challenge})


def forbidden(detail: str, scope: str) -> ProblemError:
    """403: the credential is valid and lacks a scope."""
    challenge = f'Bearer realm="masklet", error="insufficient_scope", scope="{scope}"'
    return ProblemError(403, detail, "insufficient_scope", headers={"WWW-Authenticate": challenge})


def busy(detail: str, retry_after_s: int = 1, *, status: int = 503) -> ProblemError:
    """503, or 429: try again after ``retry_after_s``."""
    kind = "too_many_requests" if status == 429 else "busy"
    return ProblemError(status, detail, kind, headers={"Retry-After": str(retry_after_s)})


def internal_error() -> ProblemError:
    """500: a bug of ours; its internals are not shown to the client."""
    return ProblemError(500, "an internal error; see the daemon's log", "internal")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of a route, for the OpenAPI document."""
    return {status: _described(status) for status in sorted({*statuses, *EVERY_ROUTE})}


def documented(description: str, media_type: str) -> dict[int | str, dict[str, Any]]:
    """A text answer of a type other than JSON, for the OpenAPI document."""
    content = {media_type: {"schema": {"type": "string"}}}
    return {200: {"description": description, "content": content}}


def problem_schemas() -> dict[str, Any]:
    """The schemas that ``problems`` refers to."""
    schema = ProblemModel.model_json_schema(ref_template="#/components/schemas/{model}")
    return {**schema.pop("$defs"), ProblemModel.__name__: schema}


def _described(status: int) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": _MEANINGS[status],
        "content": {
            MEDIA_TYPE: {
                "schema": {"$ref": f"#/components/schemas/{ProblemModel.__name__}"},
                "example": ProblemError(status, _MEANINGS[status]).document("/v1/streams"),
            }
        },
    }
    if status in (429, 503):
        response["headers"] = {
            "Retry-After": {
                "description": "Seconds after which to try again",
                "schema": {"type": "integer"},
            }
        }
    if status in (401, 403):
        response["headers"] = {
            "WWW-Authenticate": {
                "description": "How to give a credential (RFC 6750)",
                "schema": {"type": "string"},
            }
        }
    return response


# Any route may get a wrong request, too many of one client, or too many at once. uvicorn and
# Starlette refuse malformed HTTP and other host names by themselves, with 400 and a line of text.
EVERY_ROUTE = (400, 408, 413, 429, 500, 503)
_MEANINGS = {
    400: "Malformed request",
    401: "No credential, or an unknown one",
    403: "The credential lacks a scope, or a rule of the server forbids it",
    404: "Not found",
    405: "Method not allowed",
    408: "The request did not arrive in time",
    409: "In conflict with the present state",
    412: "If-Match names a state that has passed",
    413: "The body is too large",
    415: "Another type of body is needed",
    422: "Invalid values; `errors` names them",
    428: "If-Match is needed",
    429: "Too many requests from this client",
    500: "An internal error; see the daemon's log",
    503: "Unavailable or busy; try again later",
}
