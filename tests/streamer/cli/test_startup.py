"""What the daemon reports and checks before it loads torch and the model."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from streamer.cli import startup
from streamer.cli.startup import password_files, taken_addresses
from streamer.config import control_endpoint
from streamer.config.loading import load_config
from streamer.errors import ConfigError
from streamer.runtime.private_files import why_readable
from streamer.runtime.sockets import why_no_listener


def test_taken_addresses_are_all_named_before_the_model_loads(
    tmp_path: Path, free_port: int
) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    control = tmp_path / "run" / "control.sock"
    with socket.socket() as api, socket.socket() as results, socket.socket(socket.AF_UNIX) as other:
        for listener in (api, results):
            listener.bind(("127.0.0.1", 0))
            listener.listen()
        other.bind(str(control))
        other.listen()
        api_port, results_port = api.getsockname()[1], results.getsockname()[1]
        config = load_config(
            None,
            [
                f"zeromq.endpoint=tcp://127.0.0.1:{results_port}",
                f"metrics.port={free_port}",
                f"api.port={api_port}",
                f"control.endpoint=ipc://{control}",
            ],
        )
        said = list(taken_addresses(config))
    assert said == [
        f"zeromq.endpoint: cannot listen on 127.0.0.1:{results_port} (Address already in use); is "
        "masklet running already? Otherwise choose another zeromq.endpoint",
        f"api.port: cannot listen on 127.0.0.1:{api_port} (Address already in use); is masklet "
        "running already? Otherwise choose another api.port",
        f"control.endpoint ipc://{control}: another process listens there; stop it or choose "
        "another path for this one",
    ]


def test_without_a_writable_folder_the_start_names_what_to_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "masklet" / "control.sock"
    monkeypatch.setattr(control_endpoint, "default_places", lambda: [place])
    monkeypatch.setattr(startup, "default_places", lambda: [place])
    config = load_config(
        None, ["zeromq.endpoint=tcp://127.0.0.1:*", "metrics.port=0", "api.port=0"]
    )
    assert list(taken_addresses(config)) == [
        f"control.endpoint: no default folder can be used: {tmp_path}/file/masklet: "
        f"{tmp_path}/file cannot be written; set control.endpoint=ipc:///FOLDER/control.sock in a "
        "folder of this user"
    ]

    def no_folder() -> str:
        raise FileNotFoundError

    monkeypatch.setattr("tempfile.gettempdir", no_folder)
    with pytest.raises(ConfigError, match="set TMPDIR to one that can"):
        startup.require_temporary_folder()


def test_password_files_that_everybody_reads_are_named(tmp_path: Path) -> None:
    for name in ("open", "own"):
        (tmp_path / name).write_text("hunter2")
    (tmp_path / "own").chmod(0o640)
    config = load_config(
        None,
        [
            f"streams.gate.password_file={tmp_path}/open",
            f"streams.yard.password_file={tmp_path}/own",
            f"webrtc.ice_servers=[{{url:'turn:t',username:u,password_file:{tmp_path}/open}}]",
        ],
        ["gate=rtsp://a@b/", "yard=rtsp://a@b/"],
    )
    found = {key: why_readable(path) for key, path in password_files(config)}
    reason = f"every user of this machine can read {tmp_path}/open; run `chmod o= {tmp_path}/open`"
    assert found == {
        "streams.gate.password_file": reason,
        "streams.yard.password_file": None,
        "webrtc.ice_servers[0].password_file": reason,
    }


def test_a_control_folder_that_others_enter_is_named(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    wanted = (f"control.endpoint=ipc://{tmp_path}/open/c.sock", "metrics.port=0", "api.port=0")
    config = load_config(None, ["zeromq.endpoint=tcp://127.0.0.1:*", *wanted])
    assert list(taken_addresses(config)) == [
        f"control.endpoint: {tmp_path}/open must be a folder of this user alone, and others can "
        "enter it (mode 0755); choose another one"
    ]


def test_a_host_that_is_none_has_no_listener() -> None:
    assert why_no_listener("127.0.0.1", 0) is None
    assert why_no_listener("*", 0) is None
    assert why_no_listener("localhost", 0) is None
    assert why_no_listener("192.0.2.1", 0) == "Cannot assign requested address"
    assert why_no_listener("no host", 0) is not None
    assert why_no_listener("a" * 70, 0) is not None


def test_the_first_messages_need_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from streamer.cli.startup import begin\n"
        "from streamer.config.loading import load_config\n"
        "assert begin(load_config(None, sys.argv[1:]))\n"
        "sys.exit('torch' in sys.modules)"
    )
    ports = ("zeromq.endpoint=tcp://127.0.0.1:*", "metrics.port=0", "api.port=0")
    (tmp_path / "tmp").mkdir(mode=0o700)
    environment = os.environ | {
        "XDG_RUNTIME_DIR": str(tmp_path / "no-such"),
        "TMPDIR": str(tmp_path / "tmp"),
    }
    done = subprocess.run(
        [sys.executable, "-c", script, *ports],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    first, second = done.stderr.splitlines()
    assert "starts, with the model auto on auto" in first
    assert second.endswith(
        f"control.endpoint: {tmp_path}/no-such/masklet is passed over: it cannot be used (No such "
        "file or directory)"
    )
