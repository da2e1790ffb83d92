"""``masklet run`` as an operator meets it: a process, signals, exit codes, the command line."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from streamer.client import Access, ApiClient, ApiError, Subscriber
from tests.conftest import eventually, find_free_port
from tracker import Tracker
from tracker.weights.checkpoint import save_checkpoint

SCENE = "synthetic://match?seed=3&width=160&height=96&rate_hz=10"
STOP_WITHIN_S = 20.0  # on a machine at its limit; a silent camera may take 60 s to open


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model's shape, with random weights, as a file."""
    path = tmp_path_factory.mktemp("checkpoint") / "nano.safetensors"
    save_checkpoint(Tracker.random("nano", seed=0).model(), path)
    return path


class Daemon:
    """A ``masklet run`` process with a configuration file of its own."""

    def __init__(
        self, folder: Path, checkpoint: Path, port: int | None = None, **streams: object
    ) -> None:
        self.endpoint = f"tcp://127.0.0.1:{port or find_free_port()}"
        self.control = f"ipc://{folder}/control.sock"
        self.log = folder / "log"
        config = folder / "masklet.yaml"
        config.write_text(
            yaml.safe_dump(
                {
                    "streams": streams,
                    "model": {"checkpoint": str(checkpoint), "device": "cpu", "threads": 1},
                    "zeromq": {"endpoint": self.endpoint},
                    "metrics": {"port": 0},
                    "api": {"port": 0},
                    "control": {"endpoint": self.control},
                    "log": {"format": "json"},
                    "heartbeat_s": 0.2,
                }
            )
        )
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("masklet"), "run", "--config", str(config)],
                stderr=log,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )

    def entries(self) -> list[dict[str, str]]:
        """The log so far, every line of which is a JSON object."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def client(self) -> ApiClient:
        """A client of the control socket, once the daemon serves."""
        eventually(
            lambda: self.process.poll() is not None or "serving" in self.log.read_text(),
            timeout_s=150,
            what="the daemon serves",
        )
        assert self.process.poll() is None, self.log.read_text()
        return ApiClient(Access(control=self.control))

    def stop(self, number: int) -> tuple[int, float]:
        """The exit code after a signal, and the seconds it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        return self.process.wait(60), time.monotonic() - began


@contextmanager
def daemon(
    folder: Path, checkpoint: Path, port: int | None = None, **streams: object
) -> Iterator[Daemon]:
    """A daemon that is gone after the test, whatever happened."""
    made = Daemon(folder, checkpoint, port, **streams)
    try:
        yield made
    finally:
        made.process.kill()
        made.process.wait(20)


@contextmanager
def silent_server() -> Iterator[int]:
    """A port that accepts and never answers, like a camera that hangs."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(20)
    for connection in held:
        connection.close()


def test_sigterm_publishes_stopping_and_exits_with_0(tmp_path: Path, checkpoint: Path) -> None:
    match = {"url": SCENE, "objects": [{"id": 1, "label": "player", "box": [20, 20, 60, 80]}]}
    with daemon(tmp_path, checkpoint, match=match) as process:
        client = process.client()
        with Subscriber(process.endpoint, topics=("frame",)) as subscriber:
            message = next(subscriber)
            assert [entry.label for entry in message.objects] == ["player"]
            body = {"box": [40, 30, 90, 90], "label": "second"}
            client.post("/v1/streams/match/objects/2/prompts", body)
            eventually(lambda: len(next(subscriber).objects) == 2)
            client.delete("/v1/streams/match/objects/1")
            eventually(lambda: [entry.id for entry in next(subscriber).objects] == [2])
            with pytest.raises(ApiError, match="no stream 'gate'"):
                client.post("/v1/streams/gate/objects", {"box": [1, 1, 9, 9]})
            code, seconds = process.stop(signal.SIGTERM)
            eventually(
                lambda: subscriber.receive(timeout_s=0.1) is None and subscriber.publisher_stopping
            )
        assert (code, seconds < STOP_WITHIN_S) == (0, True)
        entries = process.entries()
        assert entries[-1]["message"] == "stopped"
        assert any(entry.get("stream") == "match" for entry in entries)


def test_sigint_ends_in_time_while_a_camera_is_silent(tmp_path: Path, checkpoint: Path) -> None:
    with silent_server() as port:
        hung = {"url": f"rtsp://admin:hunter2@127.0.0.1:{port}/1", "open_timeout_s": 60}
        with daemon(tmp_path, checkpoint, hung=hung, match={"url": SCENE}) as process:
            client = process.client()
            eventually(lambda: client.get("/v1/streams/match")["state"] == "live")
            assert client.get("/v1/streams/hung")["state"] == "connecting"
            code, seconds = process.stop(signal.SIGINT)
            assert (code, seconds < STOP_WITHIN_S) == (0, True), process.log.read_text()
            assert "hunter2" not in process.log.read_text()


def test_stop_over_the_control_socket_exits_with_0(tmp_path: Path, checkpoint: Path) -> None:
    with daemon(tmp_path, checkpoint) as process:
        process.client().post("/v1/stop")
        assert process.process.wait(60) == 0


def test_address_that_is_taken_exits_with_2_and_one_line_that_names_it(
    tmp_path: Path, checkpoint: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with daemon(tmp_path, checkpoint, port=port) as process:
            assert process.process.wait(60) == 2
    errors = [entry for entry in process.entries() if entry["level"] == "error"]
    assert len(errors) == 1
    assert f"zeromq.endpoint: cannot listen on 127.0.0.1:{port}" in errors[0]["message"]
