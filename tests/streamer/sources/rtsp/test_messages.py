"""Messages and interleaved frames are told apart however they are cut, within bounds."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.sources.rtsp.messages import (
    Connection,
    ConnectionEndedError,
    MalformedMessageError,
    Message,
)

REPLY = b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Length: 3\r\n\r\na$b"
REQUEST = b"GET_PARAMETER rtsp://cam/live RTSP/1.0\nCSeq:7\n\n"
FRAMES = [b"$\0\0\x04RTSP", b"$\x01\0\0", b"$\0\x01\x2c" + b"$" * 300]


@pytest.fixture
def ends() -> Iterator[tuple[Connection, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(5)
        yield Connection(ours), theirs


def received(connection: Connection) -> tuple[bytes, list[Message]]:
    """All media and all messages, until the peer ends."""
    media, messages = b"", []
    while True:
        try:
            for part in connection.receive():
                if isinstance(part, Message):
                    messages.append(part)
                else:
                    media += part
        except ConnectionEndedError:
            return media, messages


@given(
    cuts=st.lists(st.integers(1, 400), max_size=12),
    junk=st.sampled_from([b"", b"\r\n", b"\0x"]),
)
def test_any_cut_gives_the_same_frames_and_messages(cuts: list[int], junk: bytes) -> None:
    data = FRAMES[0] + junk + REPLY + FRAMES[1] + FRAMES[2] + junk + REQUEST + FRAMES[0]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        connection = Connection(ours)
        media, messages, position = b"", [], 0
        for end in [*sorted(cuts), len(data)]:
            if end > position:
                theirs.sendall(data[position:end])
                position = end
                for part in connection.receive():
                    if isinstance(part, Message):
                        messages.append(part)
                    else:
                        media += part
    assert media == FRAMES[0] + FRAMES[1] + FRAMES[2] + FRAMES[0]
    assert [each.status for each in messages] == [200, None]
    assert messages[0].body == b"a$b"
    assert messages[1].value("cseq") == "7"


def test_media_before_an_answer_are_kept(ends: tuple[Connection, socket.socket]) -> None:
    connection, camera = ends
    camera.sendall(FRAMES[0] + FRAMES[2] + REPLY + FRAMES[1])
    assert connection.message().status == 200
    camera.close()
    assert received(connection) == (FRAMES[0] + FRAMES[2] + FRAMES[1], [])


@pytest.mark.parametrize(
    "hostile",
    [
        b"RTSP/1.0 200 OK\r\n" + b"X: y\r\n" * 20_000,
        b"RTSP/1.0 200 OK\r\nContent-Length: 999999999\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n",
    ],
)
def test_what_a_peer_may_send_is_bounded(
    hostile: bytes, ends: tuple[Connection, socket.socket]
) -> None:
    connection, camera = ends
    camera.sendall(hostile)
    with pytest.raises(MalformedMessageError):
        connection.message()


def test_a_peer_that_speaks_something_else_is_read_to_its_end(
    ends: tuple[Connection, socket.socket],
) -> None:
    connection, camera = ends
    camera.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    camera.close()
    with pytest.raises(ConnectionEndedError):
        connection.message()
    assert connection.is_garbage
