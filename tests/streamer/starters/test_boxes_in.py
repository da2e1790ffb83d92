"""Boxes of detectors elsewhere, over real sockets: what is taken, refused, counted and answered."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import zmq
import zmq.asyncio

from streamer.client.boxes_sender import BoxesSender
from streamer.config.starters import BoxesInConfig
from streamer.errors import ConfigError, ControlError, SecurityError
from streamer.runtime.curve_keys import (
    keys_command,
    make_keys,
)
from streamer.runtime.metrics import Metrics
from streamer.starters.boxes_in import BoxesIn
from streamer.starters.detection import Detection
from streamer.starters.turns import SENDERS, Turns
from streamer.types import FrameReference
from tests.streamer.sinks.zeromq.helpers import (
    eventually,
    send_without_end,
)

LOOPBACK = "tcp://127.0.0.1:*"
BOX = [1.0, 2.0, 11.0, 22.0]


class Taken:
    """A stream ``gate`` that takes boxes; keeps what it was offered."""

    def __init__(self) -> None:
        self.offers: list[tuple[FrameReference, Sequence[Detection]]] = []
        self.metrics = Metrics()

    def __call__(
        self, stream_id: str, moment: FrameReference, detections: Sequence[Detection]
    ) -> bool:
        if stream_id != "gate":
            raise ControlError(f"there is no stream {stream_id!r}; streams here: gate")
        self.offers.append((moment, detections))
        return moment.frame_index != 99

    def count(self, result: str) -> float:
        name = "masklet_boxes_messages_total"
        return self.metrics.registry.get_sample_value(name, {"result": result}) or 0.0


@asynccontextmanager
async def listening(
    endpoint: str = LOOPBACK, **settings: object
) -> AsyncIterator[tuple[BoxesIn, Taken]]:
    taken = Taken()
    config = BoxesInConfig(enabled=True, endpoint=endpoint, **settings)  # type: ignore[arg-type]
    boxes_in = BoxesIn(config, taken, lambda: 1, taken.metrics)
    await boxes_in.start()
    task = asyncio.create_task(boxes_in.run())
    try:
        yield boxes_in, taken
    finally:
        task.cancel()
        await asyncio.wait({task})
        await boxes_in.close()


@asynccontextmanager
async def dealer(endpoint: str) -> AsyncIterator[zmq.asyncio.Socket]:
    """A detector in any language."""
    context = zmq.asyncio.Context()
    socket = context.socket(zmq.DEALER)
    socket.linger = 0
    socket.connect(endpoint)
    try:
        yield socket
    finally:
        socket.close()
        context.term()


def message(**changes: object) -> dict[str, Any]:
    plain = {
        "schema": "masklet-boxes/1",
        "stream_id": "gate",
        "frame_index": 7,
        "boxes": [{"box": BOX, "score": 0.5, "label": "person"}],
        "request_id": "mine",
        "later_key": "is ignored",
    }
    return {key: value for key, value in (plain | changes).items() if value is not None}


async def answer_to(socket: zmq.asyncio.Socket, sent: object) -> dict[str, Any]:
    await socket.send(sent if isinstance(sent, bytes) else msgspec.msgpack.encode(sent))
    async with asyncio.timeout(20):
        answer: dict[str, Any] = msgspec.msgpack.decode(await socket.recv())
    return answer


async def test_boxes_are_offered_and_who_asks_is_told() -> None:
    async with listening() as (boxes_in, taken), dealer(boxes_in.endpoint) as socket:
        assert await answer_to(socket, message()) == {"accepted": True, "request_id": "mine"}
        ((moment, (found,)),) = taken.offers
        assert moment == FrameReference(frame_index=7)
        assert (found.box_xyxy, found.score, found.label) == (tuple(BOX), 0.5, "person")
        by_time = message(frame_index=None, capture_time_ns=5, session_id="s")
        assert (await answer_to(socket, by_time | {"schema": "masklet-boxes/1.3"}))["accepted"]
        assert taken.offers[1][0] == FrameReference(capture_time_ns=5, session_id="s")
        await socket.send(msgspec.msgpack.encode(message(request_id=None)))  # no answer
        assert (await answer_to(socket, message(frame_index=99)))["request_id"] == "mine"
        assert (taken.count("accepted"), taken.count("superseded")) == (3, 1)


@pytest.mark.parametrize(
    ("sent", "reason", "detail"),
    [
        (b"\xc1 rubbish", "malformed", "not a message of boxes"),
        (b"", "malformed", "not a message of boxes"),
        (b"\x81\xa1x" + b"\x91" * 100_000 + b"\xc0", "malformed", "recursion"),
        (message(schema="masklet-boxes/2"), "version", "schema must be masklet-boxes/1"),
        (message(schema=None), "version", "schema must be masklet-boxes/1"),
        (message(stream_id="yard"), "unknown", "no stream 'yard'; streams here: gate"),
        (message(stream_id="a/b"), "malformed", "stream_id"),
        (message(frame_index=None), "malformed", "frame_index or capture_time_ns, one"),
        (message(capture_time_ns=3), "malformed", "frame_index or capture_time_ns, one"),
        (message(boxes=[{"box": [1, 2, 3]}]), "malformed", "$.boxes[0].box"),
        (message(boxes=[{"box": [5, 5, 5, 9]}]), "malformed", "boxes[0].box must be x0, y0"),
        (message(boxes=[{"score": 0.5}]), "malformed", "neither a box nor a mask"),
        (message(boxes=[{"box": BOX, "score": 2}]), "malformed", "$.boxes[0].score"),
        (message(boxes=[{"box": BOX, "label": "a\nb"}]), "malformed", "$.boxes[0].label"),
        (message(boxes=[{"box": [0, 0, float("nan"), 4]}]), "malformed", "box"),
        (message(boxes=[{"box": BOX}] * 257), "malformed", "$.boxes"),
        (
            message(boxes=[{"mask": {"counts": b"?", "offset": [0, 0], "size": [5, 5]}}]),
            "malformed",
            "rle mask",
        ),
        (
            message(boxes=[{"mask": {"counts": b"0", "offset": [0, 0], "size": [9000, 9000]}}]),
            "malformed",
            "send crops",
        ),
    ],
)
async def test_what_cannot_be_is_refused_with_a_reason_and_the_next_is_taken(
    sent: object, reason: str, detail: str
) -> None:
    async with listening() as (boxes_in, taken), dealer(boxes_in.endpoint) as socket:
        answer = await answer_to(socket, sent)
        assert (answer["accepted"], answer["reason"]) == (False, reason)
        assert detail in answer["detail"]
        assert taken.count(reason) == 1
        assert (await answer_to(socket, message()))["accepted"]


async def test_stream_that_sends_too_often_is_refused_and_others_are_not() -> None:
    async with listening(messages_per_s=1.0) as (boxes_in, taken), dealer(boxes_in.endpoint) as one:
        answers = [await answer_to(one, message()) for _ in range(3)]
        assert answers[0]["accepted"]
        assert answers[2]["reason"] == "rate"
        assert "boxes_in.messages_per_s (1)" in answers[2]["detail"]
        assert taken.count("rate") >= 1
        async with dealer(boxes_in.endpoint) as other:
            assert (await answer_to(other, message(stream_id="yard")))["reason"] == "unknown"


async def test_flood_of_messages_lets_everything_else_go_on() -> None:
    """A message that waits is received at once: without a pause nobody else has a turn."""
    plain = msgspec.msgpack.encode(message(request_id=None))
    flood = 1000
    async with listening(messages_per_s=1.0) as (boxes_in, taken), dealer(boxes_in.endpoint) as one:
        sent, taken_in = threading.Event(), threading.Event()

        def send() -> None:
            context = zmq.Context()
            with context.socket(zmq.DEALER) as socket:
                socket.connect(boxes_in.endpoint)
                for _ in range(flood):
                    socket.send(plain)
                sent.set()
                taken_in.wait(60)
            context.term()

        sending = asyncio.ensure_future(asyncio.to_thread(send))
        turns = 0
        while not sent.is_set():
            await asyncio.sleep(0)
            turns += 1
        refused = taken.metrics.boxes_messages.labels("rate")._value  # ``count`` takes milliseconds
        while refused.get() + len(taken.offers) < flood:
            await asyncio.sleep(0)
            turns += 1
        taken_in.set()
        await sending
        assert turns > flood / 2
        assert "reason" in await answer_to(one, message(stream_id="yard"))


async def test_names_that_are_made_up_do_not_get_past_the_rate() -> None:
    async with listening(messages_per_s=1.0) as (boxes_in, taken), dealer(boxes_in.endpoint) as one:
        answers = [await answer_to(one, message(stream_id=f"made-up-{n}")) for n in range(20)]
        assert answers[-1]["reason"] == "rate"
        assert answers[-1]["request_id"] == "mine"
        assert "boxes_in.messages_per_s (1) for each stream that takes" in answers[-1]["detail"]
        assert taken.count("unknown") + taken.count("rate") == 20
        async with dealer(boxes_in.endpoint) as other:
            assert (await answer_to(other, message()))["accepted"]


def test_turns_fill_at_the_rate_and_are_kept_for_a_bounded_number_of_senders() -> None:
    turns = Turns()
    assert [turns.allows("gate", 0.0, 2.0) for _ in range(3)] == [True, True, False]
    assert turns.allows("gate", 0.5, 2.0)
    assert not turns.allows("gate", 0.6, 2.0)
    assert sum(turns.allows("gate", 100.0, 2.0) for _ in range(5)) == 2
    for number in range(2 * SENDERS):
        assert turns.allows(str(number), 100.0, 2.0)
    assert len(turns._buckets) == SENDERS


@pytest.mark.parametrize("parts", [[b"x"] * 5000, [b""] * 9, [b"x" * 1025]])
async def test_message_of_too_many_or_large_parts_is_dropped_and_counted(
    parts: list[bytes],
) -> None:
    async with listening() as (boxes_in, taken), dealer(boxes_in.endpoint) as socket:
        await socket.send_multipart([*parts, msgspec.msgpack.encode(message())])
        assert (await answer_to(socket, message()))["accepted"]
        assert taken.count("parts") == 1
        assert len(taken.offers) == 1


async def test_connection_whose_message_has_no_end_is_ended_and_others_are_heard() -> None:
    async with (
        listening(message_bytes=2048, messages_per_s=10_000.0) as (boxes_in, taken),
        dealer(boxes_in.endpoint) as other,
    ):
        await send_without_end(boxes_in.endpoint, "DEALER", 2000)
        await eventually(lambda: taken.count("endless") == 1)
        assert (await answer_to(other, message()))["accepted"]


async def test_connections_are_watched_before_messages_are_taken() -> None:
    """While the model warms up libzmq's thread must not stand still, nor a message grow on."""
    taken = Taken()
    config = BoxesInConfig(enabled=True, endpoint=LOOPBACK, message_bytes=2048)
    boxes_in = BoxesIn(config, taken, lambda: 1, taken.metrics)
    await boxes_in.start()
    try:
        port = int(boxes_in.endpoint.rpartition(":")[2])
        for _ in range(1200):  # two events each: more than wait in a monitor's queue
            async with asyncio.timeout(20):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                assert await reader.readexactly(1) == b"\xff"  # libzmq's greeting
            writer.close()
        await send_without_end(boxes_in.endpoint, "DEALER", 2000)
        await eventually(lambda: taken.count("endless") == 1)
    finally:
        await boxes_in.close()


async def test_connection_that_ends_its_messages_may_send_for_ever() -> None:
    async with (
        listening(message_bytes=1024, messages_per_s=10_000.0) as (boxes_in, taken),
        dealer(boxes_in.endpoint) as socket,
    ):
        padded = message(padding="x" * 800)
        for _ in range(1200):  # almost twice what may come of one message
            assert (await answer_to(socket, padded))["accepted"]
        assert not taken.count("endless")


async def test_message_that_is_too_large_ends_its_connection_only() -> None:
    async with (
        listening(message_bytes=2048) as (boxes_in, taken),
        dealer(boxes_in.endpoint) as large,
        dealer(boxes_in.endpoint) as other,
    ):
        await large.send(bytes(5000))
        assert (await answer_to(other, message()))["accepted"]
        assert not taken.count("malformed")


async def test_python_helper_sends_boxes_and_masks_and_says_why_not() -> None:
    crop = np.tri(20, 10, dtype=np.bool_)
    things = [Detection((1, 2, 11, 22), 0.5, "person", crop), Detection((3.5, 4, 9, 9))]
    async with listening() as (boxes_in, taken):
        with BoxesSender(boxes_in.endpoint) as sender:

            def send() -> None:
                assert sender.send("gate", things, frame_index=3, answer_within_s=20)
                with pytest.raises(ControlError, match="streams here: gate"):
                    sender.send("yard", [], frame_index=3, answer_within_s=20)
                assert sender.send("gate", [], capture_time_ns=8)

            await asyncio.to_thread(send)
            async with asyncio.timeout(20):
                while len(taken.offers) < 2:
                    await asyncio.sleep(0.01)
        (moment, (masked, plain)), (_, nothing) = taken.offers
        assert moment == FrameReference(frame_index=3)
        assert masked.crop is not None
        assert np.array_equal(masked.crop, crop)
        assert (masked.box_xyxy, masked.label) == ((1, 2, 11, 22), "person")
        assert (plain.box_xyxy, plain.crop) == ((3.5, 4, 9, 9), None)
        assert list(nothing) == []


def test_python_helper_never_waits_for_a_daemon_that_is_not_there() -> None:
    with BoxesSender("tcp://127.0.0.1:1") as sender:
        began = time.monotonic()
        sent = [sender.send("gate", [], frame_index=1) for _ in range(100)]
        assert sent[0]
        assert not sent[-1]
        assert time.monotonic() - began < 5
    with BoxesSender("tcp://127.0.0.1:1") as sender, pytest.raises(ControlError, match="no answer"):
        sender.send("gate", [], frame_index=1, answer_within_s=0.05)
    with pytest.raises(ConfigError, match="CURVE needs both"):
        BoxesSender("tcp://127.0.0.1:1", server_key=b"x")
    with pytest.raises(ConfigError, match="cannot be connected to"):
        BoxesSender("nowhere")


async def test_only_clients_of_the_list_are_heard(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys_command(keys, ["detector"])
    stranger = make_keys(tmp_path / "stranger", "stranger")
    settings = {
        "server_key_file": str(keys / "server.key_secret"),
        "client_keys_directory": str(keys / "clients"),
    }
    async with listening("tcp://0.0.0.0:*", **settings) as (boxes_in, taken):
        endpoint = f"tcp://127.0.0.1:{boxes_in.endpoint.rpartition(':')[2]}"

        def send(client_keys: Path | None) -> None:
            server_key = None if client_keys is None else keys / "server.key"
            with BoxesSender(endpoint, server_key=server_key, client_keys=client_keys) as sender:
                wait_s = 0.3 if taken.offers else 20.0  # a refused client hears nothing
                sender.send("gate", [], frame_index=1, answer_within_s=wait_s)

        await asyncio.to_thread(send, keys / "detector.key_secret")
        assert len(taken.offers) == 1
        for refused in (stranger.secret, None):
            with pytest.raises(ControlError, match="no answer"):
                await asyncio.to_thread(send, refused)
        assert len(taken.offers) == 1


async def test_client_that_was_taken_off_the_list_is_not_heard_any_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = tmp_path / "keys"
    keys_command(keys, ["detector", "other"])
    settings = {
        "server_key_file": str(keys / "server.key_secret"),
        "client_keys_directory": str(keys / "clients"),
    }
    async with listening(**settings) as (boxes_in, taken):

        def sender(name: str) -> BoxesSender:
            own = keys / f"{name}.key_secret"
            return BoxesSender(boxes_in.endpoint, server_key=keys / "server.key", client_keys=own)

        with sender("detector") as one, sender("other") as other:
            for each in (one, other):
                await asyncio.to_thread(each.send, "gate", [], frame_index=1, answer_within_s=20)
            (keys / "clients" / "detector.key").unlink()
            await eventually(lambda: "not on the allow-list any more" in caplog.text)
            one.send("gate", [], frame_index=2)
            await asyncio.to_thread(other.send, "gate", [], frame_index=3, answer_within_s=20)
        assert [moment.frame_index for moment, _ in taken.offers] == [1, 1, 3]


@pytest.mark.parametrize(
    ("endpoint", "settings", "error", "words"),
    [
        ("tcp://0.0.0.0:5556", {}, SecurityError, "set boxes_in.server_key_file=KEYS/server"),
        ("ipc://relative", {}, ConfigError, "boxes_in.endpoint ipc://relative: an ipc"),
        (LOOPBACK, {"server_key_file": "/k"}, SecurityError, "boxes_in.client_keys_directory is"),
        (
            LOOPBACK,
            {"server_key_file": "/none", "client_keys_directory": "/none"},
            SecurityError,
            "boxes_in.client_keys_directory /none: no such folder",
        ),
    ],
)
async def test_address_and_keys_are_checked_as_the_publishers(
    endpoint: str, settings: dict[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        async with listening(endpoint, **settings):
            pass


async def test_socket_file_is_for_its_owner_and_group(tmp_path: Path) -> None:
    path = tmp_path / "boxes.sock"
    async with listening(f"ipc://{path}") as (boxes_in, _), dealer(boxes_in.endpoint) as socket:
        assert path.stat().st_mode & 0o777 == 0o660
        assert (await answer_to(socket, message()))["accepted"]
