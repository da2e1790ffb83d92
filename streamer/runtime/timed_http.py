"""HTTP responses that end at a deadline, even those that arrive byte by byte."""

from __future__ import annotations

import http.client
import io
import socket
from collections.abc import Callable
from typing import Any


def read_in_time(connection: http.client.HTTPConnection, remaining_s: Callable[[], float]) -> None:
    """Limit every read of ``connection``'s responses to ``remaining_s()``.

    That may raise ``TimeoutError`` itself.
    """

    def response_in_time(opened: socket.socket, **options: Any) -> http.client.HTTPResponse:
        timed: Any = _TimedSocket(opened, remaining_s)
        return http.client.HTTPResponse(timed, **options)

    connection.response_class = response_in_time  # type: ignore[assignment]


class _TimedSocket:
    """Stands for a socket that is only read."""

    def __init__(self, opened: socket.socket, remaining_s: Callable[[], float]) -> None:
        self._opened = opened
        self._remaining_s = remaining_s

    def makefile(self, mode: str) -> io.BufferedReader:
        assert mode == "rb", "responses are only read"
        return io.BufferedReader(_TimedReader(self._opened, self._remaining_s))


class _TimedReader(io.RawIOBase):
    """Reads from a socket; raises ``TimeoutError`` once ``remaining_s`` is used up."""

    def __init__(self, opened: socket.socket, remaining_s: Callable[[], float]) -> None:
        self._opened = opened
        self._file = opened.makefile("rb", buffering=0)
        self._remaining_s = remaining_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        self._opened.settimeout(self._remaining_s())
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()
