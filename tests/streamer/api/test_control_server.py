"""Commands over the local socket: carried out, or refused with a clear word."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from socket import AF_UNIX
from socket import socket as unix_socket
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq
import zmq.asyncio

from streamer.api.control_server import (
    COMMANDS_AT_ONCE,
    ControlServer,
)
from streamer.client.control import ControlClient
from streamer.errors import ConfigError, ControlError
from streamer.inference.prompts.request import PromptOutcome
from streamer.types import StreamState, StreamStatus
from streamer.wire.control_messages import (
    MAXIMUM_MESSAGE_BYTES,
    Reply,
    command_of,
    prompt_of,
)
from tests.streamer.fakes import track
from tracker import Prompt

STATUS = StreamStatus(
    stream_id="gate",
    state=StreamState.LIVE,
    time_ns=1,
    url="rtsp://***@camera/1",
    width=640,
    height=360,
    frames_decoded=10,
    frames_tracked=8,
    frames_dropped={"superseded": 2},
    object_ids=(3,),
)


class FakeStreams:
    """Does what a daemon does with commands for streams, but remembers only."""

    def __init__(self, calls: list[tuple[object, ...]]) -> None:
        self.calls = calls

    def statuses(self) -> Iterable[StreamStatus]:
        return [STATUS]

    async def add_from(self, stream_id: str, settings: Mapping[str, Any]) -> None:
        if "url" not in settings:
            raise ConfigError(f"streams.{stream_id}.url is missing")
        self.calls.append(("add_stream", stream_id, settings))

    async def remove(self, stream_id: str) -> None:
        self.calls.append(("remove_stream", stream_id))


class FakeObjects:
    """Does what a daemon does with commands for objects, but remembers only."""

    def __init__(self, calls: list[tuple[object, ...]]) -> None:
        self.calls = calls
        self.prompts: list[tuple[str, Prompt, str | None]] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def prompt(
        self,
        stream_id: str,
        prompt: Prompt,
        label: str | None = None,
        *,
        correct: bool = False,
        timeout_s: float = 10.0,
    ) -> PromptOutcome:
        self.calls.append(("prompt", stream_id, timeout_s, *(["correct"] if correct else [])))
        await self.may_go_on.wait()
        self.prompts.append((stream_id, prompt, label))
        if prompt.object_id == 404:
            return PromptOutcome(
                "r", stream_id, 404, applied=False, reason="object 404: outside the frame"
            )
        found = track(prompt.object_id, np.zeros((360, 640, 3), dtype=np.uint8))
        return PromptOutcome(
            "r", stream_id, prompt.object_id, applied=True, frame_index=12, track=found
        )

    async def remove(self, stream_id: str, object_id: int) -> None:
        if object_id == 404:
            raise ControlError(f"stream {stream_id} has no object 404")
        self.calls.append(("remove_object", stream_id, object_id))


class FakeDaemon:
    """What commands are for; ``calls`` are those that came."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.streams = FakeStreams(self.calls)
        self.objects = FakeObjects(self.calls)

    def request_stop(self) -> None:
        self.calls.append(("stop",))

    def control_server(self, folder: Path) -> ControlServer:
        """One that listens in ``folder``, once started."""
        endpoint = f"ipc://{folder}/control.sock"
        return ControlServer(endpoint, self.streams, self.objects, self.request_stop)


class Served:
    """A control server in the test's event loop."""

    def __init__(self, endpoint: str, daemon: FakeDaemon) -> None:
        self.endpoint = endpoint
        self.daemon = daemon

    async def ask(self, method: str, *arguments: Any, timeout_s: float = 10.0) -> Any:
        """One command by the real, blocking client, in a thread."""

        def ask() -> Any:
            with ControlClient(self.endpoint, timeout_s=timeout_s) as client:
                return getattr(client, method)(*arguments)

        return await asyncio.to_thread(ask)


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Served]:
    daemon = FakeDaemon()
    server = daemon.control_server(folder)
    await server.start()
    async with asyncio.TaskGroup() as tasks:
        run = tasks.create_task(server.run(tasks))
        yield Served(server.endpoint, daemon)
        run.cancel()
        await server.close()


async def test_prompt_arrives_whole_and_its_result_comes_back(tmp_path: Path) -> None:
    mask = np.zeros((37, 53), dtype=np.bool_)
    mask[3:9, 10:31] = True
    async with serving(tmp_path) as served:
        clicked = Prompt(3, ((1.5, 2.0), (8, 9)), (1, 0), (0.0, 1.0, 20.0, 30.5), None, True)
        found = await served.ask("prompt", "gate", clicked, "ball")
        assert (found.object_id, found.frame_index, found.area) == (3, 12, 12)
        assert found.box == (0, 0, 4, 3)
        assert found.visible
        await served.ask("prompt", "gate", Prompt(4, mask=mask))
        (first, second) = served.daemon.objects.prompts
        assert first == ("gate", clicked, "ball")
        assert np.array_equal(second[1].mask, mask)


async def test_correction_is_told_from_a_new_prompt(tmp_path: Path) -> None:
    click = Prompt(3, ((1.5, 2.0),), (0,))
    async with serving(tmp_path) as served:

        def correct() -> None:
            with ControlClient(served.endpoint) as client:
                client.prompt("gate", click, correct=True)
                client.prompt("gate", click)

        await asyncio.to_thread(correct)
        assert served.daemon.calls == [
            ("prompt", "gate", 10.0, "correct"),
            ("prompt", "gate", 10.0),
        ]


async def test_refusal_is_an_error_in_the_daemons_words(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        box = (0.0, 0.0, 5.0, 5.0)
        with pytest.raises(ControlError, match="object 404 on stream gate: outside the frame"):
            await served.ask("prompt", "gate", Prompt(404, box_xyxy=box))
        with pytest.raises(ControlError, match="stream gate has no object 404"):
            await served.ask("remove", "gate", 404)
        with pytest.raises(ControlError, match=r"streams\.yard\.url is missing"):
            await served.ask("add_stream", "yard", {})


async def test_streams_are_listed_added_removed_and_the_daemon_stopped(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        (summary,) = await served.ask("streams")
        assert (summary.stream_id, summary.state, summary.object_ids) == ("gate", "live", (3,))
        assert summary.frames_dropped == {"superseded": 2}
        await served.ask("add_stream", "yard", {"url": "clip.mp4", "loop": True})
        await served.ask("remove", "yard", 5)
        await served.ask("remove_stream", "yard")
        await served.ask("stop")
        assert served.daemon.calls == [
            ("add_stream", "yard", {"url": "clip.mp4", "loop": True}),
            ("remove_object", "yard", 5),
            ("remove_stream", "yard"),
            ("stop",),
        ]


async def test_socket_belongs_to_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "runtime"
    async with serving(folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "control.sock").stat().st_mode) == 0o600
    assert not (folder / "control.sock").exists()


async def test_folder_that_others_can_enter_is_refused_with_the_command_that_mends_it(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigError, match=f"chmod 700 {tmp_path}"):
        await FakeDaemon().control_server(tmp_path).start()


async def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=f"control.endpoint: {tmp_path}/file/sub cannot be"):
        await FakeDaemon().control_server(tmp_path / "file" / "sub").start()


async def test_second_daemon_does_not_take_the_socket_of_the_first(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        second = FakeDaemon().control_server(tmp_path)
        with pytest.raises(ConfigError, match="another process listens there"):
            await second.start()
        await second.close()
        assert await served.ask("streams")


async def test_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "control.sock").write_text("keep me")
    server = FakeDaemon().control_server(tmp_path)
    with pytest.raises(ConfigError, match="something else than a socket"):
        await server.start()
    await server.close()
    assert (tmp_path / "control.sock").read_text() == "keep me"


async def test_leftover_socket_of_a_killed_daemon_is_replaced(tmp_path: Path) -> None:
    with unix_socket(AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "control.sock"))
    async with serving(tmp_path) as served:
        assert await served.ask("streams")


async def raw(endpoint: str, *parts: bytes) -> Reply:
    context = zmq.asyncio.Context()
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    socket.connect(endpoint)
    try:
        await socket.send_multipart(parts)
        async with asyncio.timeout(20):
            answer = await socket.recv_multipart()
        return msgspec.msgpack.decode(answer[-1], type=Reply)
    finally:
        socket.close()
        context.term()


NESTED = msgspec.Raw(b"\x91" * 200_000 + b"\xc0")


def packed(command: dict[str, object], **more: object) -> bytes:
    return msgspec.msgpack.encode({"request_id": "r1", "command": command, **more})


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", "not a command"),
        (b"\xff\x00garbage", "not a command"),
        (
            packed(
                {"type": "add_stream", "stream_id": "a", "settings": {"b": msgspec.Raw(NESTED)}}
            ),
            "maximum recursion depth",
        ),
        (packed({"type": "format_disk"}), "Invalid value 'format_disk'"),
        (packed({"type": "stop", "when": "now"}), "unknown field `when`"),
        (packed({"type": "prompt", "stream_id": "gate"}), "missing required field `object_id`"),
        (
            packed({"type": "prompt", "stream_id": "gate", "object_id": -1}),
            r"`int` >= 0 - at `\$.command.object_id`",
        ),
        (
            packed({"type": "prompt", "stream_id": "g" * 200, "object_id": 1}),
            "length <= 128",
        ),
        (
            packed({"type": "prompt", "stream_id": "gate", "object_id": 1, "label": "a\x1b[31m\n"}),
            r"matching regex .* at `\$.command.label`",
        ),
        (
            packed(
                {
                    "type": "prompt",
                    "stream_id": "gate",
                    "object_id": 1,
                    "mask": {"height": 100, "width": 100, "bits": b"short"},
                }
            ),
            "must hold 1250 bytes for 100×100 pixels, got 5",
        ),
    ],
)
async def test_bad_request_gets_a_clear_error_and_loses_nothing(
    tmp_path: Path, payload: bytes, error: str
) -> None:
    async with serving(tmp_path) as served:
        reply = await raw(served.endpoint, payload)
        assert reply.error is not None
        with pytest.raises(ControlError, match=error):
            raise ControlError(reply.error)
        assert served.daemon.calls == []
        assert await served.ask("streams")


async def test_request_with_an_empty_delimiter_is_answered_with_one(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        reply = await raw(served.endpoint, b"", packed({"type": "list_streams"}))
        assert (reply.request_id, reply.error) == ("r1", None)


async def test_message_that_is_too_large_ends_only_its_own_connection(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        context = zmq.asyncio.Context()
        socket = context.socket(zmq.DEALER)
        socket.linger = 0
        socket.connect(served.endpoint)
        await socket.send(b"x" * (MAXIMUM_MESSAGE_BYTES + 1))
        assert await served.ask("streams")
        assert not await socket.poll(100)
        socket.close()
        context.term()
        huge = Prompt(1, mask=np.ones((8192, 8192), dtype=np.bool_))
        with pytest.raises(ControlError, match="at most 4194304 are allowed"):
            await served.ask("prompt", "gate", huge)


async def test_commands_beyond_the_bound_are_told_that_the_daemon_is_busy(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.daemon.objects.may_go_on.clear()
        context = zmq.asyncio.Context()
        socket = context.socket(zmq.DEALER)
        socket.linger = 0
        socket.connect(served.endpoint)
        prompt = packed({"type": "prompt", "stream_id": "gate", "object_id": 1})
        for _ in range(COMMANDS_AT_ONCE + 1):
            await socket.send(prompt)
        async with asyncio.timeout(20):
            first = msgspec.msgpack.decode(await socket.recv(), type=Reply)
        assert "64 commands are under way" in str(first.error)
        served.daemon.objects.may_go_on.set()
        async with asyncio.timeout(20):
            for _ in range(COMMANDS_AT_ONCE):
                assert msgspec.msgpack.decode(await socket.recv(), type=Reply).error is None
        socket.close()
        context.term()


async def test_command_under_way_at_the_end_is_told_that_the_daemon_stops(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.daemon.objects.may_go_on.clear()
        box = Prompt(1, box_xyxy=(0, 0, 5, 5))
        waiting = asyncio.create_task(served.ask("prompt", "gate", box))
        async with asyncio.timeout(20):
            while not served.daemon.calls:
                await asyncio.sleep(0.01)
    with pytest.raises(ControlError, match="the daemon is stopping"):
        await waiting


async def test_slow_command_does_not_hold_up_the_next(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        served.daemon.objects.may_go_on.clear()
        slow = asyncio.create_task(served.ask("prompt", "gate", Prompt(1, box_xyxy=(0, 0, 5, 5))))
        assert await served.ask("streams")
        served.daemon.objects.may_go_on.set()
        assert (await slow).object_id == 1


def test_client_says_that_no_daemon_is_there(tmp_path: Path) -> None:
    with (
        ControlClient(f"ipc://{tmp_path}/control.sock") as client,
        pytest.raises(ControlError, match="no daemon listens at"),
    ):
        client.streams()


def test_client_refuses_what_is_no_address() -> None:
    with pytest.raises(ControlError, match="'somewhere' is no address of a daemon"):
        ControlClient("somewhere")


def test_client_refuses_text_that_cannot_be_sent(tmp_path: Path) -> None:
    (tmp_path / "control.sock").touch()
    with (
        ControlClient(f"ipc://{tmp_path}/control.sock") as client,
        pytest.raises(ControlError, match="not UTF-8"),
    ):
        client.prompt("gate", Prompt(1, box_xyxy=(0, 0, 5, 5)), "caf\udce9")


def test_client_does_not_wait_for_ever(tmp_path: Path) -> None:
    (tmp_path / "control.sock").touch()
    with (
        ControlClient(f"ipc://{tmp_path}/control.sock", timeout_s=0.1) as client,
        pytest.raises(ControlError, match="did not answer within"),
    ):
        client.streams()


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(1, points_xy=((1.0, 2.0),), point_labels=(0,)),
        Prompt(2, box_xyxy=(1.0, 2.0, 3.0, 4.0)),
        Prompt(3, points_xy=((1.0, 2.0),), point_labels=(1,), replace_points=True),
    ],
)
def test_prompt_survives_its_command(prompt: Prompt) -> None:
    assert prompt_of(command_of("gate", prompt, "label", 1.0)) == prompt
