"""One WebSocket: uvicorn's protocol, with a bound on the frames that a client may send."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame

# WebSocket close codes of our own (RFC 6455, section 7.4.2): 4000 + the HTTP status.
STREAM_GONE = 4404
# Each frame, a ping or a part of a message too, costs the event loop 0.05 ms, however small it is.
# A connection may send one in this time, and its bytes are parsed in slices; policy: others wait
# in the client.
FRAME_S = 0.002
_SLICE_BYTES = 2048
# Of one message; policy: the connection is closed.
FRAGMENTS = 1024


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket that cannot keep the event loop busy. uvicorn bounds the size of a message."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        # Received and not parsed. Bound: one read of the transport, which pauses meanwhile.
        self._unparsed = bytearray()
        self._next_turn: asyncio.TimerHandle | None = None
        self._frames = 0

    def data_received(self, data: bytes) -> None:
        """Parse what arrived, or keep it until its turn comes."""
        self._unparsed += data
        if self._next_turn is None and not self.read_paused:
            self._parse()

    def handle_events(self) -> None:
        """Count the frames that were parsed."""
        self._frames = len(self.conn.events)
        super().handle_events()

    def handle_cont(self, event: Frame) -> None:
        """Add a fragment to its message."""
        if len(self.frames) < FRAGMENTS:
            super().handle_cont(event)
        elif not self.close_sent:
            self.conn.fail(CloseCode.POLICY_VIOLATION, "too many fragments")
            self.handle_parser_exception()

    async def receive(self) -> Any:
        """The next message; the client may send again."""
        message = await super().receive()
        self._wait_for_turn()
        return message

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget what was not parsed."""
        if self._next_turn is not None:
            self._next_turn.cancel()
        super().connection_lost(exc)

    def _parse(self) -> None:
        self._next_turn = None
        part = bytes(self._unparsed[:_SLICE_BYTES])
        del self._unparsed[:_SLICE_BYTES]
        if part:
            super().data_received(part)
            if self.conn.handshake_exc is not None and not self.handshake_initiated:
                # A head that llhttp takes and websockets does not, with its answer if it has one.
                self.transport.write(b"".join(self.conn.data_to_send()))
                self.transport.close()
            self._wait_for_turn()
        else:
            self.transport.resume_reading()

    def _wait_for_turn(self) -> None:
        # While a message waits for the application, `receive` begins the next turn.
        if self._next_turn is None and not self.read_paused and not self.transport.is_closing():
            self.transport.pause_reading()
            self._next_turn = self.loop.call_later(self._frames * FRAME_S, self._parse)
            self._frames = 0
