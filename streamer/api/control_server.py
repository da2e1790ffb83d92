"""The daemon's control socket: a ROUTER on a Unix socket that only its owner can open."""

from __future__ import annotations

import asyncio
import logging
import stat
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import zmq
import zmq.asyncio

from streamer.errors import ConfigError, ControlError, MaskletError
from streamer.inference.prompts.request import PromptOutcome
from streamer.runtime.private_files import make_private_folder
from streamer.runtime.sockets import check_socket_path
from streamer.types import StreamStatus
from streamer.wire.control_messages import (
    MAXIMUM_MESSAGE_BYTES,
    AddStreamCommand,
    Command,
    ListStreamsCommand,
    PromptApplied,
    PromptCommand,
    RemoveObjectCommand,
    RemoveStreamCommand,
    Reply,
    StopCommand,
    StreamList,
    StreamSummary,
    decode_request,
    encode,
    prompt_of,
    request_id_of,
)
from tracker.types import Prompt, TrackState

COMMANDS_AT_ONCE = 64
_LINGER_MS = 200
_log = logging.getLogger(__name__)


class StreamCommands(Protocol):
    """What can be asked of the streams; the methods raise ``MaskletError`` to refuse."""

    def statuses(self) -> Iterable[StreamStatus]:
        """How every stream does."""

    async def add_from(self, stream_id: str, settings: Mapping[str, Any]) -> None:
        """Begin another stream."""

    async def remove(self, stream_id: str) -> None:
        """End a stream."""


class ObjectCommands(Protocol):
    """What can be asked of the objects; the methods raise ``MaskletError`` to refuse."""

    async def prompt(
        self,
        stream_id: str,
        prompt: Prompt,
        label: str | None = None,
        *,
        correct: bool = False,
        timeout_s: float = 10.0,
    ) -> PromptOutcome:
        """Apply a prompt on the stream's next frame, or to ``correct`` on its newest."""

    async def remove(self, stream_id: str, object_id: int) -> None:
        """Stop following an object."""


class ControlServer:
    """Carries out commands that come over the socket, each as a task of its own.

    Bounds: ``COMMANDS_AT_ONCE`` commands are under way, a further one is refused as busy;
    a larger message than ``MAXIMUM_MESSAGE_BYTES`` ends its connection. The socket file has
    mode 0600 in a folder with mode 0700: whoever can open it, may command.
    """

    def __init__(
        self,
        endpoint: str,
        streams: StreamCommands,
        objects: ObjectCommands,
        request_stop: Callable[[], None],
    ) -> None:
        """``request_stop`` ends the daemon."""
        self.endpoint = endpoint
        self._streams = streams
        self._objects = objects
        self._request_stop = request_stop
        self._context: zmq.asyncio.Context | None = None
        self._socket: zmq.asyncio.Socket | None = None
        self._bound: Path | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Bind. Raises ``ConfigError`` if the path is taken, or open to others."""
        path = Path(self.endpoint.removeprefix("ipc://"))
        make_private_folder("control.endpoint", path.parent)
        check_socket_path(f"control.endpoint {self.endpoint}", path)
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAXIMUM_MESSAGE_BYTES)
        self._socket.setsockopt(zmq.LINGER, _LINGER_MS)
        try:
            self._socket.bind(self.endpoint)
        except zmq.ZMQError as error:
            await self.close()
            raise ConfigError(f"control.endpoint: cannot bind {self.endpoint}: {error}") from error
        self._bound = path
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)

    async def run(self, tasks: asyncio.TaskGroup) -> None:
        """Take commands until cancelled."""
        assert self._socket is not None, "the control server was not started"
        while True:
            *envelope, payload = await self._socket.recv_multipart()
            if len(self._under_way) >= COMMANDS_AT_ONCE:
                busy = f"{COMMANDS_AT_ONCE} commands are under way already; try again later"
                await self._send(envelope, Reply(request_id_of(payload), error=busy))
                continue
            task = tasks.create_task(self._answer(envelope, payload), name="control-command")
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        """Give up what is under way, saying so, and remove the socket."""
        under_way = tuple(self._under_way)
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._context is not None:
            # Blocks until the last replies are gone, or the linger time is over.
            await asyncio.to_thread(self._context.term)
            self._context = None
        if self._bound is not None:  # never what another daemon bound
            self._bound.unlink(missing_ok=True)
            self._bound = None

    async def _answer(self, envelope: list[bytes], payload: bytes) -> None:
        try:
            request = decode_request(payload)
            result = await self._carry_out(request.command)
            reply = Reply(request.request_id, result=result)
        except MaskletError as error:
            reply = Reply(request_id_of(payload), error=str(error))
        except asyncio.CancelledError:
            stopping = Reply(request_id_of(payload), error="the daemon is stopping")
            await self._send(envelope, stopping)
            raise
        await self._send(envelope, reply)

    async def _send(self, envelope: list[bytes], reply: Reply) -> None:
        if self._socket is not None:
            await self._socket.send_multipart([*envelope, encode(reply)])

    async def _carry_out(self, command: Command) -> PromptApplied | StreamList | None:
        match command:
            case PromptCommand():
                return _applied(
                    await self._objects.prompt(
                        command.stream_id,
                        prompt_of(command),
                        command.label,
                        correct=command.correct,
                        timeout_s=command.timeout_s,
                    )
                )
            case RemoveObjectCommand():
                await self._objects.remove(command.stream_id, command.object_id)
            case ListStreamsCommand():
                return StreamList([_summary(status) for status in self._streams.statuses()])
            case AddStreamCommand():
                await self._streams.add_from(command.stream_id, command.settings)
            case RemoveStreamCommand():
                await self._streams.remove(command.stream_id)
            case StopCommand():
                _log.info("asked to stop over the control socket")
                self._request_stop()
        return None


def _applied(outcome: PromptOutcome) -> PromptApplied:
    track = outcome.track
    if not outcome.applied or outcome.frame_index is None or track is None:
        reason = (outcome.reason or "").removeprefix(f"object {outcome.object_id}: ")
        raise ControlError(f"object {outcome.object_id} on stream {outcome.stream_id}: {reason}")
    return PromptApplied(
        object_id=outcome.object_id,
        frame_index=outcome.frame_index,
        box=track.box_xyxy,
        area=track.area,
        predicted_iou=track.predicted_iou,
        visible=track.state is TrackState.VISIBLE,
    )


def _summary(status: StreamStatus) -> StreamSummary:
    return StreamSummary(
        stream_id=status.stream_id,
        state=status.state,
        url=status.url,
        reason=status.reason,
        detail=status.detail,
        width=status.width,
        height=status.height,
        frames_decoded=status.frames_decoded,
        frames_tracked=status.frames_tracked,
        frames_dropped=status.frames_dropped,
        connect_failures=status.connect_failures,
        object_ids=status.object_ids,
    )
