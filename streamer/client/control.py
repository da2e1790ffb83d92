"""The client of the daemon's control socket: what ``masklet prompt`` and its like use."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zmq

from streamer.config.control_endpoint import default_control_endpoint
from streamer.errors import ControlError
from streamer.wire.control_messages import (
    MAXIMUM_MESSAGE_BYTES,
    AddStreamCommand,
    Command,
    ListStreamsCommand,
    PromptApplied,
    RemoveObjectCommand,
    RemoveStreamCommand,
    Reply,
    Request,
    StopCommand,
    StreamList,
    StreamSummary,
    command_of,
    decode_reply,
    encode,
)
from tracker.types import Prompt

_GRACE_S = 2.0


class ControlClient:
    """Commands for a running daemon on this machine; one command at a time, not thread-safe.

    Every method raises ``ControlError`` when the daemon is not there, does not answer in time
    or refuses; a refused command has changed nothing. Use it as a context manager.
    """

    def __init__(self, endpoint: str | None = None, timeout_s: float = 10.0) -> None:
        """``endpoint`` is the daemon's ``control.endpoint``, by default its default.

        Raises ``ControlError`` for one that is no address.
        """
        self.endpoint = default_control_endpoint() if endpoint is None else endpoint
        self._timeout_s = timeout_s
        self._context = zmq.Context()
        self._socket: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAXIMUM_MESSAGE_BYTES)
        try:
            self._socket.connect(self.endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise ControlError(
                f"{self.endpoint!r} is no address of a daemon ({error.strerror}); give its "
                "control.endpoint, ipc:///PATH"
            ) from error

    def prompt(
        self, stream_id: str, prompt: Prompt, label: str | None = None, *, correct: bool = False
    ) -> PromptApplied:
        """Apply ``prompt`` on the stream's next frame and return the object as found there.

        ``correct`` refines an object that is followed, on the newest frame that was tracked.
        """
        command = command_of(stream_id, prompt, label, self._timeout_s, correct=correct)
        result = self._ask(command).result
        if not isinstance(result, PromptApplied):
            raise ControlError(f"the daemon answered a prompt with {type(result).__name__}")
        return result

    def remove(self, stream_id: str, object_id: int) -> None:
        """Stop following an object."""
        self._ask(RemoveObjectCommand(stream_id, object_id))

    def streams(self) -> list[StreamSummary]:
        """How every stream does."""
        result = self._ask(ListStreamsCommand()).result
        if not isinstance(result, StreamList):
            raise ControlError(f"the daemon answered with {type(result).__name__}")
        return result.streams

    def add_stream(self, stream_id: str, settings: Mapping[str, Any]) -> None:
        """Begin another stream; ``settings`` as under ``streams.ID`` in a file (``url``, …)."""
        self._ask(AddStreamCommand(stream_id, dict(settings)))

    def remove_stream(self, stream_id: str) -> None:
        """End a stream and remove its objects."""
        self._ask(RemoveStreamCommand(stream_id))

    def stop(self) -> None:
        """End the daemon; returns once it has begun to."""
        self._ask(StopCommand())

    def close(self) -> None:
        """Release the socket."""
        self._socket.close()
        self._context.term()

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, command: Command) -> Reply:
        path = Path(self.endpoint.removeprefix("ipc://"))
        if self.endpoint.startswith("ipc://") and not path.exists():
            raise ControlError(
                f"no daemon listens at {self.endpoint}: start one with `masklet run`, or name "
                "its control.endpoint"
            )
        request_id = uuid.uuid4().hex
        try:
            payload = encode(Request(request_id, command))
        except UnicodeEncodeError as error:
            raise ControlError("the command holds text that is not UTF-8") from error
        if len(payload) > MAXIMUM_MESSAGE_BYTES:
            raise ControlError(
                f"the command has {len(payload)} bytes, at most {MAXIMUM_MESSAGE_BYTES} are allowed"
            )
        self._socket.send(payload)
        deadline = time.monotonic() + self._timeout_s + _GRACE_S
        while (left_s := deadline - time.monotonic()) > 0:
            if not self._socket.poll(round(left_s * 1000) + 1):
                break
            reply = decode_reply(self._socket.recv())
            if reply.request_id == request_id:  # not the late answer to an earlier command
                if reply.error is not None:
                    raise ControlError(reply.error)
                return reply
        raise ControlError(
            f"the daemon at {self.endpoint} did not answer within "
            f"{self._timeout_s + _GRACE_S:.0f} s; is it running?"
        )
