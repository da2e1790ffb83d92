"""``masklet watch``: the table, JSON lines, and how it ends."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import msgspec
import pytest
from rich.console import Console

from streamer.cli import watch as watching
from streamer.cli.keys import make_all_keys
from streamer.cli.terminal import Terminal
from streamer.cli.watch import watch
from streamer.cli.watch_view import WatchView
from streamer.errors import ConfigError
from streamer.types import EventKind, StreamState
from streamer.wire.codec import (
    Message,
    TopicKind,
    decode,
    encode_event,
    encode_frame,
    encode_heartbeat,
    encode_status,
)
from tests.streamer.sinks.zeromq.helpers import background_publisher
from tests.streamer.wire import wire_samples as samples

WATCH = "import sys; from streamer.cli.watch import watch; sys.exit(watch(sys.argv[1], as_json={}))"


def default_interrupt() -> None:
    """A shell starts what runs in the background with SIGINT ignored; a person's does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start_watch(
    endpoint: str,
    as_json: bool = False,
    stdout: int = subprocess.PIPE,
    terminal: str = "xterm-256color",
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WATCH.format(as_json), endpoint],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=os.environ | {"TERM": terminal},
        preexec_fn=default_interrupt,
    )


def shown(view: WatchView, lost: dict[str, int] | None = None, silent_for_s: float = 0.0) -> str:
    output = io.StringIO()
    Console(file=output, width=120).print(view.render(lost or {}, silent_for_s, 0.0, 100.2))
    return output.getvalue()


def observe(view: WatchView, messages: Sequence[Message]) -> None:
    for number, message in enumerate(messages):
        view.observe(message, 100 + number / 20, samples.CAPTURE_NS + 42_000_000)


def boxes(seq: int, replayed: bool = False) -> Message:
    return decode(
        encode_frame(
            samples.result(seq, dropped={"superseded": 2}),
            origin=samples.ORIGIN,
            seq=seq,
            published_clock_ns=samples.published_clock_ns,
            kind=TopicKind.BOXES,
            replayed=replayed,
        )
    )


def status(state: StreamState) -> Message:
    made = samples.status(state=state)
    return decode(encode_status(made, origin=samples.ORIGIN, seq=0, next_seq={}))


def heartbeat(streams: Sequence[str], stopping: bool = False) -> Message:
    return decode(
        encode_heartbeat(
            origin=samples.ORIGIN, seq=0, time_ns=0, interval_s=1.0, streams=streams,
            stopping=stopping,
        )
    )  # fmt: skip


def test_the_table_has_objects_boxes_scores_rate_latency_and_drops() -> None:
    view = WatchView("tcp://127.0.0.1:5555")
    event = encode_event(samples.event(EventKind.LOST), origin=samples.ORIGIN, seq=0)
    observe(view, [status(StreamState.LIVE), *map(boxes, range(3)), decode(event)])
    text = shown(view, {"v1/boxes/gate/": 5})
    assert "gate  live  64×48  20.0 frames/s  latency 42 ms (rtcp_sr)  dropped superseded 6" in text
    assert "ball    visible    10   20   15   26     18    0.88         0.97" in text
    assert "occluded" in text
    assert "gate lost object 2 (keeper)" in text
    assert "5 messages were lost on the way to here" in text


def test_events_show_reason_and_absence_also_unknown_kinds() -> None:
    view = WatchView("tcp://127.0.0.1:5555")
    back = replace(samples.event(EventKind.REACQUIRED), absent_s=4.25, reason="prompted")
    topic, header = encode_event(back, origin=samples.ORIGIN, seq=0)
    later = msgspec.msgpack.encode(
        msgspec.msgpack.decode(header) | {"kind": "teleported", "colour": "red", "seq": 1}
    )
    observe(view, [boxes(0), decode([topic, header]), decode([topic, later])])
    text = shown(view)
    assert "gate reacquired object 2 (keeper) prompted unseen for 4.2 s" in text
    assert "gate teleported object 2 (keeper)" in text


def test_replayed_frame_has_no_rate_and_no_latency() -> None:
    view = WatchView("tcp://127.0.0.1:5555")
    observe(view, [boxes(0, replayed=True)])
    text = shown(view)
    assert "0.0 frames/s" in text
    assert "latency" not in text
    assert "ball" in text


def test_problems_are_shown_below_the_table() -> None:
    view = WatchView("tcp://127.0.0.1:5555")
    observe(view, [boxes(0), status(StreamState.RETRYING)])
    assert "gate  retrying" in shown(view)
    assert "nothing has arrived for 8 s" in shown(view, silent_for_s=8.0)
    observe(view, [heartbeat([], stopping=True)])
    assert "the publisher has stopped" in shown(view)


def test_reason_is_shown_while_nothing_arrives() -> None:
    view = WatchView("tcp://127.0.0.1:5555", "gate")
    assert view.waiting_reason(None, 1.0) == (
        "Waiting for tcp://127.0.0.1:5555: nothing has arrived for 1 s."
    )
    assert "Is `masklet run` up" in view.waiting_reason(None, 5.0)
    observe(view, [heartbeat(["yard", "door"])])
    assert "has no stream 'gate', but: yard, door" in view.waiting_reason(0.0, 5.0)
    observe(view, [heartbeat(["gate"])])
    assert "none of its streams has sent anything yet" in view.waiting_reason(0.0, 5.0)


def test_streams_and_events_shown_are_bounded() -> None:
    view = WatchView("tcp://127.0.0.1:5555")
    for number in range(100):
        message = samples.status(f"cam{number}")
        parts = encode_status(message, origin=samples.ORIGIN, seq=0, next_seq={})
        happened = samples.event(stream_id=f"cam{number}")
        observe(view, [decode(parts), decode(encode_event(happened, origin=samples.ORIGIN, seq=0))])
    text = shown(view)
    assert "cam99 " in text
    assert "cam35 " not in text
    assert text.count("keeper") == 6


def test_a_count_of_json_lines_ends_by_itself() -> None:
    output = io.StringIO()
    with background_publisher() as endpoint:
        assert watch(endpoint, stream="gate", as_json=True, count=5, output=output) == 0
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    frames = [line for line in lines if line["topic"] == "v1/boxes/gate/"]
    assert len(frames) == 5
    assert frames[-1]["objects"][0]["bbox"] == [10, 20, 15, 26]
    assert "mask" not in frames[-1]["objects"][0]
    assert "v1/status/gate/" in {line["topic"] for line in lines}


def test_without_a_terminal_the_table_is_written_as_text() -> None:
    output = io.StringIO()
    with background_publisher() as endpoint:
        assert watch(endpoint, count=20, output=output) == 0
    assert "in picture" in output.getvalue()
    assert "\x1b" not in output.getvalue()


class SilentSubscriber:
    """Nothing ever arrives; each look takes a tenth of a second of a clock of its own."""

    lost: ClassVar[dict[str, int]] = {}
    silent_for_s = None

    def __init__(self, seconds: float) -> None:
        self.now_s, self._end_s = 1000.0, 1000.0 + seconds

    def receive(self, timeout_s: float) -> None:
        self.now_s += timeout_s
        if self.now_s > self._end_s:
            raise KeyboardInterrupt


def test_waiting_is_not_repeated_every_second_in_a_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    subscriber = SilentSubscriber(seconds=130)
    clock = SimpleNamespace(monotonic=lambda: subscriber.now_s, time_ns=time.time_ns)
    monkeypatch.setattr(watching, "time", clock)
    output = io.StringIO()
    view = WatchView("tcp://127.0.0.1:5555", None)
    with pytest.raises(KeyboardInterrupt):
        watching._show_table(subscriber, view, Terminal(file=output, width=400), None)  # type: ignore[arg-type]
    lines = output.getvalue().splitlines()
    assert 4 <= len(lines) <= 7
    assert "Is `masklet run` up" in lines[-1]
    assert "for 12" in lines[-1]


def test_a_table_on_a_terminal_ends_with_ctrl_c_and_exit_code_0() -> None:
    controller, terminal = pty.openpty()
    with background_publisher() as endpoint:
        process = start_watch(endpoint, stdout=terminal)
        os.close(terminal)
        drawn = b""
        while b"in picture" not in drawn:
            drawn += os.read(controller, 65_536)
        process.send_signal(signal.SIGINT)
        while True:
            try:
                drawn += os.read(controller, 65_536)
            except OSError:  # what a terminal says when the other side has closed
                break
        _, errors = process.communicate(timeout=20)
    os.close(controller)
    assert (process.returncode, errors) == (0, b"")
    assert b"\x1b[?25h" in drawn, "the cursor is hidden still"


def test_dumb_terminal_gets_one_table_below_the_other() -> None:
    controller, terminal = pty.openpty()
    with background_publisher() as endpoint:
        process = start_watch(endpoint, stdout=terminal, terminal="dumb")
        os.close(terminal)
        drawn = b""
        while drawn.count(b"in picture") < 2:
            drawn += os.read(controller, 65_536)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # the other side has closed
            while os.read(controller, 65_536):
                pass
        _, errors = process.communicate(timeout=20)
    os.close(controller)
    assert (process.returncode, errors) == (0, b"")
    assert b"\x1b" not in drawn


@pytest.mark.parametrize("as_json", [True, False])
def test_closed_pipe_ends_it_silently(as_json: bool) -> None:
    with background_publisher() as endpoint:
        process = start_watch(endpoint, as_json)
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        assert process.wait(timeout=20) == 0
        assert process.stderr.read() == b""
        process.stderr.close()


def test_json_reports_waiting_on_stderr_and_ends_with_ctrl_c() -> None:
    process = start_watch("tcp://127.0.0.1:1", as_json=True)
    assert process.stderr is not None
    assert process.stderr.readline() == (
        b"masklet: nothing listens at tcp://127.0.0.1:1 yet (Connection refused)\n"
    )
    assert b"nothing has arrived for 3 s. Is `masklet run` up" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, b"", b"")


def test_keys_are_used(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    make_all_keys(keys, ["laptop"])
    encrypted = {
        "server_key_file": str(keys / "server.key_secret"),
        "client_keys_directory": str(keys / "clients"),
    }
    output = io.StringIO()
    with background_publisher(**encrypted) as endpoint:
        code = watch(
            endpoint,
            as_json=True,
            count=1,
            server_key=keys / "server.key",
            client_keys=keys / "laptop.key_secret",
            output=output,
        )
    assert code == 0
    assert output.getvalue()


def test_malformed_endpoint_is_an_error() -> None:
    with pytest.raises(ConfigError, match="give tcp://HOST:PORT"):
        watch("localhost")
