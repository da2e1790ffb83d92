"""Addresses the publisher may bind, and the errors for others."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from streamer.errors import ConfigError, SecurityError
from streamer.sinks.zeromq.bind import check_bind, is_ipv6


@pytest.mark.parametrize(
    "endpoint",
    ["tcp://127.0.0.1:5555", "tcp://127.8.8.8:*", "tcp://localhost:5555", "tcp://[::1]:5555",
     "inproc://results"],
)  # fmt: skip
def test_what_only_this_machine_reaches_needs_no_keys(endpoint: str) -> None:
    check_bind(endpoint, encrypted=False)


@pytest.mark.parametrize(
    "endpoint",
    ["tcp://0.0.0.0:5555", "tcp://*:5555", "tcp://192.168.1.5:5555", "tcp://eth0:5555",
     "tcp://[::]:5555", "tcp://camera.example:5555", "tcp://127.0.0.1.example:5555"],
)  # fmt: skip
def test_what_others_reach_is_refused_without_keys_and_the_command_is_named(endpoint: str) -> None:
    with pytest.raises(SecurityError, match="masklet keys KEYS --client NAME") as refused:
        check_bind(endpoint, encrypted=False)
    assert endpoint in str(refused.value)
    assert "zeromq.server_key_file=KEYS/server.key_secret" in str(refused.value)
    assert "zeromq.client_keys_directory=KEYS/clients" in str(refused.value)
    check_bind(endpoint, encrypted=True)


@pytest.mark.parametrize(
    "endpoint",
    ["", "udp://127.0.0.1:5", "tcp://127.0.0.1", "tcp://127.0.0.1:5;0.0.0.0:6", "tcp://:5",
     "ipc://", "ipc://relative.sock", "ipc://@abstract", "ipc://*", "127.0.0.1:5555"],
)  # fmt: skip
def test_what_is_no_endpoint_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError, match=r"zeromq\.endpoint"):
        check_bind(endpoint, encrypted=True)


def test_only_addresses_in_brackets_are_ipv6() -> None:
    assert is_ipv6("tcp://[::1]:5555")
    assert not is_ipv6("tcp://127.0.0.1:5555")


def test_a_socket_path_must_be_free_short_and_in_a_folder(tmp_path: Path) -> None:
    check_bind(f"ipc://{tmp_path}/s", encrypted=False)
    with pytest.raises(ConfigError, match=f"the folder {tmp_path}/none does not exist"):
        check_bind(f"ipc://{tmp_path}/none/s", encrypted=False)
    with pytest.raises(ConfigError, match="a Unix socket's may have 107"):
        check_bind(f"ipc://{tmp_path}/{'s' * 120}", encrypted=False)
    (tmp_path / "notes.txt").write_text("keep me")
    with pytest.raises(ConfigError, match="something else than a socket"):
        check_bind(f"ipc://{tmp_path}/notes.txt", encrypted=False)
    assert (tmp_path / "notes.txt").read_text() == "keep me"


def test_existing_socket_is_replaced_only_without_a_listener(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(ConfigError, match="another process listens there"):
            check_bind(f"ipc://{path}", encrypted=False)
    check_bind(f"ipc://{path}", encrypted=False)
