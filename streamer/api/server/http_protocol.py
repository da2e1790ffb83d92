"""One HTTP/1.1 connection: uvicorn's protocol over httptools, with bounds and strict heads.

llhttp, the parser below httptools, refuses most of what two parsers could read in two ways
(RFC 9112, section 11.2) but bounds nothing and does not know every rule; the rest is here. The
pinned version of uvicorn has the attributes that are used.
"""

from __future__ import annotations

import re
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

# Bounds on a request; policy beyond them: 400, and the connection is closed.
HEADERS = 100
HEAD_BYTES = 32 * 1024
# Sizes and extensions of chunks, trailers. A body may have a quarter of its size on top: each
# chunk is an event, however small it is.
CHUNK_BYTES = 4 * 1024
_BODY_BYTES_FOR_CHUNK_BYTE = 4
# What is counted at once, so that two more may pass.
_SLICE_BYTES = 4 * 1024
# Requests that wait for the answer to the one before.
PIPELINED = 8
# After an answer, the rest of a body that nobody reads is received, not parsed, for this long:
# closing at once would reset the connection, and the client might never see its answer.
LINGER_S = 2.0
_INVALID = "Invalid HTTP request received."


class HttpProtocol(HttpToolsProtocol):
    """A connection of a client."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        # Of the present request: what is not body of it, and what is.
        self._framing_bytes = 0
        self._body_bytes = 0
        self._has_head = False
        # The last answer was begun before its request had ended.
        self._closes_after_answer = False
        self._lingers = False

    def data_received(self, data: bytes) -> None:
        """Parse what arrived."""
        for start in range(0, len(data), _SLICE_BYTES):
            if self._lingers or self.transport.is_closing():
                return
            part = data[start : start + _SLICE_BYTES]
            self._framing_bytes += len(part)  # on_body takes the body's share off
            super().data_received(part)
            if self.transport.get_protocol() is not self:  # it is a WebSocket now
                return
            if self._framing_bytes > self._maximum_framing_bytes():
                self.send_400_response(_INVALID)

    def _maximum_framing_bytes(self) -> int:
        if not self._has_head:
            return HEAD_BYTES
        return CHUNK_BYTES + self._body_bytes // _BODY_BYTES_FOR_CHUNK_BYTE

    # What the parser found. An error that is raised here becomes a 400.

    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._framing_bytes = self._body_bytes = 0
        self._has_head = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers are ignored, lest one passes for a header of the request."""
        if self._has_head:
            return
        if len(self.headers) == HEADERS:
            raise ValueError("too many headers")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Let the application answer, if the head can be read in one way only."""
        self._has_head = True
        self._framing_bytes = 0
        version = self.parser.get_http_version()
        hosts = [value for name, value in self.headers if name == b"host"]
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if version not in ("1.0", "1.1") or not re.fullmatch(rb"/[^#]*", self.url):
            raise ValueError("a version or a target that is not served")
        if len(hosts) > 1 or (version == "1.1" and not hosts):  # RFC 9112, section 3.2
            raise ValueError("one Host is needed")
        if codings and (codings != [b"chunked"] or version == "1.0"):  # section 6.1
            raise ValueError("an unknown Transfer-Encoding")
        if len(self.pipeline) >= PIPELINED:
            raise ValueError("too many requests wait")
        if self.parser.should_upgrade() and self._should_upgrade():
            lengths = [value for name, value in self.headers if name == b"content-length"]
            if version == "1.0" or codings or lengths not in ([], [b"0"]):
                raise ValueError("a WebSocket begins with a GET of HTTP/1.1 without a body")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._framing_bytes -= len(body)
        self._body_bytes += len(body)
        super().on_body(body)

    # What becomes of it.

    def handle_websocket_upgrade(self) -> None:
        """Become a WebSocket, unless an answer is still on its way."""
        if self.cycle is None or self.cycle.response_complete:
            super().handle_websocket_upgrade()
        else:
            self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        # The request is answered as if it had not asked (RFC 9110, section 7.8), and the parser
        # has lost its place.
        self.cycle.keep_alive = False

    def _start_asgi_task(  # type: ignore[override]
        self, cycle: RequestResponseCycle, app: ASGIApp
    ) -> None:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            ends_with_connection = False

            async def framed(message: Message) -> None:
                nonlocal ends_with_connection
                if message["type"] != "http.response.start":
                    if ends_with_connection:
                        cycle.expected_content_length = len(message.get("body", b""))
                elif cycle.more_body:
                    self._closes_after_answer = True
                    headers = [*message["headers"], (b"connection", b"close")]
                    await send({**message, "headers": headers})
                    cycle.keep_alive = True  # _linger closes
                    return
                elif scope["http_version"] == "1.0" and not _has_length(message):
                    # No chunks for a client that does not know them (RFC 9112, section 6.1).
                    cycle.chunked_encoding, ends_with_connection = False, True
                await send(message)

            await app(scope, receive, framed)

        super()._start_asgi_task(cycle, answer)  # type: ignore[arg-type]

    def on_response_complete(self) -> None:
        """Read the next request, or end the connection."""
        if self._closes_after_answer and not self.transport.is_closing():
            self._linger()
        else:
            super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what was received, and close; an answer that has begun is cut instead."""
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if cycle.response_started or self.pipeline:
                self.transport.close()
                return
            cycle.disconnected = True
            cycle.message_event.set()
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(msg)),
            (b"connection", b"close"),
        ]
        head = b"".join(b"%b: %b\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[400] + head + b"\r\n" + msg.encode("ascii"))
        self._linger()

    def _linger(self) -> None:
        self._lingers = True
        self._unset_keepalive_if_required()
        self.flow.resume_reading()
        if self.transport.can_write_eof():  # not over TLS
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)


def _has_length(message: Message) -> bool:
    return any(name.lower() == b"content-length" for name, _ in message["headers"])
