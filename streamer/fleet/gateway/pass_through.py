"""Everything of one stream, passed through to the worker that has it over HTTP."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx
from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from streamer.api.server.authorisation import controls, may_publish, publishes, reads
from streamer.api.server.limits import HEAD_ONLY, LiveResponse
from streamer.api.server.problems import ProblemError, problems
from streamer.fleet.gateway.known_fleet import KnownFleet
from streamer.fleet.gateway.line import RETRY_AFTER_S, Line
from streamer.runtime.shares import Shares
from streamer.webrtc.http_answer import SDP

# Of a request and of an answer: what a proxy must not decide for itself. The client's credential
# stays here: the gateway checked it, and has its own for the workers.
_REQUEST_HEADERS = (b"accept", b"content-type", b"if-match", b"if-none-match", b"range")
_ANSWER_HEADERS = (
    "accept-patch", "accept-post", "allow", "cache-control", "content-type", "etag", "link",
    "location", "masklet-rtp-offset", "retry-after", "x-accel-buffering",
)  # fmt: skip
# A refusal is a sentence or two.
_REFUSAL_BYTES = 65_536
_log = logging.getLogger(__name__)


def pass_through_router(fleet: KnownFleet, open_streams: Shares) -> APIRouter:
    """The paths under ``/v1/streams/{stream_id}`` and those of WHEP and WHIP sessions."""
    router = APIRouter(tags=["streams"])
    refusals = problems(401, 403, 404, 409, 415, 422)

    async def of_stream(request: Request, stream_id: str, rest: str) -> Response:
        """As of a daemon: objects, prompts, previews, segments, pictures, WHEP and WHIP.

        `503` with `Retry-After` while the stream waits, or its worker is away.
        """
        path = f"/v1/streams/{quote(stream_id, safe='')}/{_checked(rest)}"
        return await passed(request, fleet.line_of(stream_id), path, open_streams)

    async def begun(request: Request, stream_id: str) -> Response:
        """A session of WHEP or WHIP. Its video goes between worker and browser directly."""
        kind = request.url.path.rpartition("/")[2]
        line = fleet.line_of(stream_id)
        path = f"/v1/streams/{quote(stream_id, safe='')}/{kind}"
        response = await passed(request, line, path, open_streams)
        if isinstance(response, Passed) and (given := response.answer.headers.get("location")):
            session = given.rpartition("/")[2]
            where = f"{line.worker.worker_id}/{quote(stream_id, safe='')}/{session}"
            response.headers["Location"] = f"../../{kind}/{where}"
        return response

    async def options(request: Request, stream_id: str) -> Response:
        """The ICE servers, with their credentials, for those who may publish."""
        if not may_publish(request):
            return Response(status_code=204, headers={"Accept-Post": SDP})
        path = f"/v1/streams/{quote(stream_id, safe='')}/whip"
        return await passed(request, fleet.line_of(stream_id), path, open_streams)

    async def of_session(
        request: Request, worker_id: str, stream_id: str, session_id: str
    ) -> Response:
        """Candidates, an ICE restart, or the end of a session: at the worker that began it.

        The worker, where the gateway may use all streams, checks that it is one of this stream.
        """
        kind = request.url.path.split("/")[-4]
        path = f"/v1/{kind}/{_checked(session_id)}"
        line, query = fleet.line_of_worker(worker_id), f"stream={quote(stream_id, safe='')}"
        return await passed(request, line, path, open_streams, query)

    stream = "/v1/streams/{stream_id}"
    for kind, needed in (("whep", reads), ("whip", publishes)):
        router.add_api_route(
            f"{stream}/{kind}", begun, methods=["POST"], dependencies=[needed], status_code=201,
            response_class=Response, responses=refusals, name=kind, operation_id=f"begin_{kind}",
        )  # fmt: skip
        router.add_api_route(
            f"/v1/{kind}/{{worker_id}}/{{stream_id}}/{{session_id}}", of_session,
            methods=["PATCH", "DELETE"], dependencies=[needed], response_class=Response,
            include_in_schema=False,
        )  # fmt: skip
    router.add_api_route(
        f"{stream}/whip", options, methods=["OPTIONS"], response_class=Response,
        include_in_schema=False,
    )  # fmt: skip
    router.add_api_route(
        f"{stream}/{{rest:path}}", of_stream, methods=["GET"], dependencies=[reads],
        response_class=Response, responses=refusals, operation_id="read_from_worker",
    )  # fmt: skip
    router.add_api_route(
        f"{stream}/{{rest:path}}", of_stream, methods=["POST", "PATCH", "PUT", "DELETE"],
        dependencies=[controls], response_class=Response, include_in_schema=False,
    )  # fmt: skip
    return router


class Passed(LiveResponse):
    """A worker's answer on its way to the client; one without an end counts as an open stream.

    Bound: what HTTP/1.1 reads at once. A client that reads slowly makes the worker wait, whose own
    policy then drops frames for this client alone.
    """

    def __init__(
        self, line: Line, answer: httpx.Response, open_streams: Shares, *, is_live: bool
    ) -> None:
        self.answer = answer
        self._line = line
        self._is_live = is_live
        headers = {name: answer.headers[name] for name in _ANSWER_HEADERS if name in answer.headers}
        super().__init__(_parts(answer), open_streams, media_type="", headers=headers)
        self.status_code = answer.status_code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it until it, the client, the login or the worker ends.

        Of a worker that ends within it, what has no end of its own ends in order; anything else is
        cut, which no client takes for whole.
        """
        is_begun = False

        async def noted(message: Message) -> None:
            nonlocal is_begun
            is_begun = True
            await send(message)

        try:
            async with self._line.lasting():
                if self._is_live:
                    await super().__call__(scope, receive, noted)
                elif scope.get(HEAD_ONLY):
                    await Response(None, self.status_code, self.headers)(scope, receive, noted)
                else:
                    await StreamingResponse.__call__(self, scope, receive, noted)
        except ProblemError as problem:
            if not is_begun:
                raise
            _log.info("an answer breaks off: %s", problem.detail)
            if self._is_live:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            await self.answer.aclose()


async def passed(
    request: Request, line: Line, path: str, open_streams: Shares, query: str | None = None
) -> Response:
    """The worker's answer to ``request`` at ``path``, with its query if no other is given.

    Raises ``ProblemError`` (502, 503).
    """
    # As bytes: a value may hold what is no ASCII, and the worker is to refuse it.
    sent = [each for each in request.headers.raw if each[0] in _REQUEST_HEADERS]
    if query is None:
        query = request.url.query
    async with line.lasting():
        answer = await line.client.send(
            line.client.build_request(
                request.method,
                f"{path}?{query}" if query else path,
                headers=sent,
                content=await request.body() or None,
            ),
            stream=True,
        )
        if answer.status_code in (401, 404):
            await _check_own(line, answer)
    is_live = answer.headers.get("content-type", "").startswith("multipart/")
    return Passed(line, answer, open_streams, is_live=is_live)


async def refusal(line: Line, answer: httpx.Response) -> dict[str, Any]:
    """The problem document of a worker's answer, which is closed; empty where it has none."""
    body = bytearray()
    try:
        async with line.lasting():
            async for part in answer.aiter_bytes():
                body += part
                if len(body) > _REFUSAL_BYTES:
                    return {}
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    finally:
        await answer.aclose()
    return document if isinstance(document, dict) else {}


async def _check_own(line: Line, answer: httpx.Response) -> None:
    """Raise ``ProblemError`` for a refusal that concerns the gateway, or one that was read."""
    document = await refusal(line, answer)
    raise problem_of_worker(line, answer.status_code, document)


def problem_of_worker(line: Line, status: int, document: dict[str, Any]) -> ProblemError:
    """A worker's refusal as the gateway's."""
    worker = line.worker
    if status == 401:
        return ProblemError(
            502,
            f"worker {worker.worker_id} on {worker.node} refuses the gateway's token; "
            "see the fleet's log",
            "worker_refuses_gateway",
        )
    kind = str(document.get("type", "")).removeprefix("urn:masklet:problem:")
    if kind == "unknown_stream":  # it is wanted: the worker has it soon, or another one has
        return ProblemError(
            503,
            f"the stream is being started on worker {worker.worker_id}; try again",
            "stream_waiting",
            headers={"Retry-After": str(RETRY_AFTER_S)},
        )
    named = None if kind in ("", "about:blank") else kind
    detail = str(document.get("detail", f"worker {worker.worker_id} answered {status}"))
    return ProblemError(status, detail, named)


async def _parts(answer: httpx.Response) -> AsyncIterator[bytes]:
    async for part in answer.aiter_raw():
        yield part


def _checked(rest: str) -> str:
    """A path below the stream's, quoted. Raises ``ProblemError`` for one that leads elsewhere."""
    parts = rest.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise ProblemError(404, "nothing is served at this path; /openapi.json lists all paths")
    return "/".join(quote(part, safe="") for part in parts)
