"""``masklet doctor`` checks the sources of the streams."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamer.cli.doctor.findings import Finding, Level
from streamer.cli.doctor.streams import check_streams
from streamer.config.loading import load_config


@pytest.fixture
def listening() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def look_at(url: str) -> Finding:
    (finding,) = check_streams(load_config(None, [], [f"gate={url}"]))
    return finding


def test_camera_that_answers_is_reported_without_its_password(listening: int) -> None:
    finding = look_at(f"rtsp://nora:secret@127.0.0.1:{listening}/stream")
    assert finding.level is Level.OK
    assert finding.text == f"gate: 127.0.0.1:{listening} answers"


def test_a_camera_that_does_not_answer_is_no_fault_of_this_machine(listening: int) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, but not listening: refused
        port = nobody.getsockname()[1]
        finding = look_at(f"rtsp://nora:secret@127.0.0.1:{port}/stream")
    assert finding.level is Level.NOTE
    assert finding.text == f"gate: 127.0.0.1:{port} does not answer: Connection refused"
    assert "masklet run keeps trying" in finding.advice


def test_missing_file_is_reported(tmp_path: Path) -> None:
    there = tmp_path / "clip.mp4"
    there.touch()
    assert look_at(str(there)).level is Level.OK
    assert look_at(f"file://{there}").level is Level.OK
    there.unlink()
    finding = look_at(str(there))
    assert finding.level is Level.MISSING
    assert finding.text == f"gate: {there} does not exist"


@pytest.mark.parametrize("url", ["synthetic://match", "whip://", "udp://0.0.0.0:5000"])
def test_sources_without_a_connection_are_fine(url: str) -> None:
    assert look_at(url).level is Level.OK


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ((), r"streams\.gate\.url: the synthetic scene must be match, got 'circus'"),
        (
            ("streams.gate.url=rtsp://ann@cam/", "streams.gate.password_env=NOT_SET"),
            "NOT_SET is not",
        ),
    ],
)
def test_what_the_daemon_refuses_is_missing(settings: tuple[str, ...], message: str) -> None:
    config = load_config(None, ["streams.gate.url=synthetic://circus", *settings])
    (finding,) = check_streams(config)
    assert finding.level is Level.MISSING
    assert re.search(message, finding.text)
    assert "refuses" in finding.advice
