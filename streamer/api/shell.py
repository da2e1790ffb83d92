"""An application without its routes: the checks of every request, and errors as problems.

A daemon and a fleet's gateway add routes of their own. Nothing here needs a model or media.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import ASGIApp

from streamer.api.access import Access
from streamer.api.server.admission import Admission
from streamer.api.server.answers import Answers
from streamer.api.server.body_limit import JSON, BodyLimit
from streamer.api.server.limits import ClientRates, RunningRequests
from streamer.api.server.principals import PRINCIPAL, Principal
from streamer.api.server.problems import (
    InvalidField,
    ProblemError,
    ProblemModel,
    busy,
    internal_error,
    problem_schemas,
)
from streamer.config.network import ApiConfig
from streamer.errors import (
    BusyError,
    ConfigError,
    ControlError,
    FleetError,
    MaskletError,
    RateError,
    StreamExistsError,
    UnknownObjectError,
    UnknownStreamError,
    WireError,
)
from streamer.runtime.clock import Clock

LISTED_ERRORS = 32
# A fleet's manager that was lost is begun again within some seconds.
FLEET_RETRY_S = 5
_METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")


def admitted(routes: ASGIApp, access: Access, api: ApiConfig, clock: Clock) -> ASGIApp:
    """``routes`` behind the checks of every request: limits, origin, credential, body."""
    token_names = [each.name for each in api.tokens]
    return Answers(
        Admission(
            BodyLimit(routes, api.limits.body_bytes, token_names),
            authorisation=access.authorisation,
            cors_origins=[origin.lower() for origin in api.cors_origins],
            rates=ClientRates(api.limits.requests_per_s, api.limits.burst, clock),
            running=RunningRequests(api.limits.connections, token_names),
            open_streams=access.open_streams,
            cookie=access.cookie,
        )
    )


def without_routes(description: str) -> FastAPI:
    """An application that answers errors as problems, in its OpenAPI document too."""
    application = FastAPI(
        title="Masklet",
        version=version("masklet"),
        description=description,
        servers=[{"url": "."}],  # beside the document, whatever prefix a proxy serves it under
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    describe = application.openapi
    application.openapi = lambda: _completed(describe())  # type: ignore[method-assign]
    for kind in (ProblemError, HTTPException, RequestValidationError, MaskletError, Exception):
        application.add_exception_handler(kind, _on_error)
    return application


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document with our problems in place of FastAPI's own errors."""
    schemas = document["components"]["schemas"]
    if ProblemModel.__name__ in schemas:  # FastAPI keeps the document
        return document
    schemas.update(problem_schemas())
    schemas.pop("HTTPValidationError", None)
    schemas.pop("ValidationError", None)
    for operations in document["paths"].values():
        for operation in operations.values():
            invalid = operation["responses"].get("422", {}).get("content", {})
            if "application/json" in invalid:  # of a parameter that takes any text
                del operation["responses"]["422"]
    return document


async def _on_error(request: Request, error: Exception) -> Response:
    """The answer to a request that was refused or went wrong.

    A bug is answered with one sentence; Starlette raises it again, and ``Answers`` logs it.
    """
    problem = problem_of(error, request)
    if request.scope["type"] == "websocket":
        raise problem  # Answers refuses the handshake
    return problem.response(request.scope.get("raw_path", b"").decode("ascii", "replace"))


def problem_of(error: Exception, connection: HTTPConnection) -> ProblemError:
    """The problem that is reported to the client for an error."""
    match error:
        case ProblemError():
            return error
        case HTTPException():
            return _of_http_exception(error, connection)
        case RequestValidationError():
            return _of_invalid(error, connection)
        case ConfigError():
            return ProblemError(422, str(error), "invalid_settings")
        case UnknownStreamError():
            # Its message lists the streams.
            principal: Principal = connection.scope["state"][PRINCIPAL]
            detail = str(error) if principal.streams is None else "there is no such stream"
            return ProblemError(404, detail, "unknown_stream")
        case UnknownObjectError():
            return ProblemError(404, str(error), "unknown_object")
        case StreamExistsError():
            return ProblemError(409, str(error), "stream_exists")
        case FleetError():
            return busy(str(error), FLEET_RETRY_S)
        case BusyError():
            return busy(str(error))
        case RateError():
            return busy(str(error), math.ceil(error.wait_s), status=429)
        case WireError():
            return ProblemError(422, str(error), "invalid_request")
        case ControlError():
            return ProblemError(409, str(error), "refused")
    return internal_error()


def _of_http_exception(error: HTTPException, connection: HTTPConnection) -> ProblemError:
    """A refusal by Starlette or FastAPI itself."""
    headers = dict(error.headers or {})
    detail = str(error.detail)
    if error.status_code == 404 and _is_web_socket(connection):
        # What a proxy makes of a handshake that it does not pass on.
        return ProblemError(
            426,
            "this path is a WebSocket: connect with ws:// or wss://, and let a proxy between pass "
            "the headers Upgrade and Connection",
            headers={"Upgrade": "websocket"},
        )
    if error.status_code == 400:  # FastAPI's, of a body that Python's parser cannot take
        detail = (
            "the body cannot be read as JSON: send UTF-8, with numbers of some digits and not "
            "many levels"
        )
    elif error.status_code == 404:
        detail = "nothing is served at this path; /openapi.json lists all paths"
    elif error.status_code == 405:
        allowed = ", ".join(_allowed_methods(connection))
        headers["Allow"] = allowed
        detail = f"this path does not take this method; allowed: {allowed}"
    return ProblemError(error.status_code, detail, headers=headers)


def _of_invalid(error: RequestValidationError, connection: HTTPConnection) -> ProblemError:
    """A path, query, header or body that does not fit the route; never repeats what was sent."""
    content_type = connection.headers.get("content-type", "")  # BodyLimit left one spelling
    of_body = any(each["loc"][:1] == ("body",) for each in error.errors())
    if of_body and content_type != JSON:
        sent = f"a body of type {content_type!r}" if content_type else "a body without a type"
        return ProblemError(415, f"{sent}; send Content-Type: application/json")
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return ProblemError(400, f"the body is not JSON, from byte {first['loc'][-1]} on")
    errors = [
        InvalidField(_location(each["loc"]), _detail(each))
        for each in error.errors()[:LISTED_ERRORS]
    ]
    detail = "; ".join(f"{each.location or 'the body'}: {each.detail}" for each in errors[:3])
    return ProblemError(422, detail, "invalid_request", errors=errors)


def _detail(error: Mapping[str, Any]) -> str:
    """One error of pydantic's, with the next step where its own message has none."""
    if error["type"] == "extra_forbidden":
        return "unknown field; /openapi.json lists the fields"
    return str(error["msg"]).removeprefix("Value error, ")


def _allowed_methods(connection: HTTPConnection) -> list[str]:
    """The methods of every route at this path, not of the first that matched."""
    routes = connection.app.routes
    methods = [
        method
        for method in _METHODS
        if any(
            route.matches({**connection.scope, "method": method})[0] is Match.FULL
            for route in routes
        )
    ]
    if "GET" in methods:
        methods.append("HEAD")
    return sorted(methods)


def _is_web_socket(connection: HTTPConnection) -> bool:
    """Whether a WebSocket would be answered at this path."""
    scope = {**connection.scope, "type": "websocket"}
    return any(route.matches(scope)[0] is Match.FULL for route in connection.app.routes)


def _location(parts: tuple[int | str, ...]) -> str:
    """The place of an invalid value: a JSON pointer into the body, or ``query NAME``."""
    place, *rest = parts
    if place == "body":
        return "/".join(["", *(str(part).replace("~", "~0").replace("/", "~1") for part in rest)])
    return " ".join(str(part) for part in parts)
