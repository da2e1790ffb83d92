"""Senders of bytes: a script decides what each connection gets, and when."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Literal, Self

# What an encoder puts into one datagram: seven packets of a transport stream.
_DATAGRAM = 7 * 188
# No length, as for live media: the end of the connection is the end of the stream.
LIVE_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: video/x\r\nConnection: close\r\n\r\n"


class Sending:
    """One connection, as its script sees it. ``number`` counts the connections from 1."""

    def __init__(
        self, write: Callable[[bytes], object], stopped: threading.Event, number: int
    ) -> None:
        self._write = write
        self.stopped = stopped
        self.number = number
        self.began_s = time.monotonic()

    def send(self, data: bytes) -> None:
        """Send at once; raises ``OSError`` when the client has left, which ends the script."""
        if self.stopped.is_set():
            raise ConnectionAbortedError
        self._write(data)

    def wait(self, duration_s: float) -> None:
        """Let time pass; ends at once when the server is closed."""
        self.stopped.wait(duration_s)

    def play(self, pieces: Sequence[bytes], rate_hz: float = 25.0) -> None:
        """Send one piece after the other in real time."""
        began_s = time.monotonic()
        for index, piece in enumerate(pieces):
            self.wait(began_s + index / rate_hz - time.monotonic())
            self.send(piece)

    def stay(self) -> None:
        """Stay connected and silent until the server is closed."""
        self.stopped.wait()


Script = Callable[[Sending], None]


class ScriptedServer:
    """Serves each client by ``script`` in a thread of its own; hangs up when the script returns.

    ``head`` is sent after an HTTP request. By UDP the script runs once, from the start on, and the
    client listens on the port of ``url``.
    """

    def __init__(
        self,
        script: Script,
        scheme: Literal["tcp", "http", "udp"] = "tcp",
        *,
        head: bytes = LIVE_RESPONSE,
    ) -> None:
        self._script = script
        self._scheme = scheme
        self._head = head
        self._stopped = threading.Event()
        kind = socket.SOCK_DGRAM if scheme == "udp" else socket.SOCK_STREAM
        self._socket = socket.socket(socket.AF_INET, kind)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        if scheme != "udp":
            self._socket.listen()
            self._socket.settimeout(0.05)
        self._threads = [threading.Thread(target=self._run, name="scripted-server")]
        self.connections = 0

    @property
    def url(self) -> str:
        """The address of the media."""
        path = "/live" if self._scheme == "http" else ""
        return f"{self._scheme}://127.0.0.1:{self.port}{path}"

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _run(self) -> None:
        if self._scheme == "udp":
            self._socket.close()  # the port is the client's
            self._send_datagrams()
            return
        while not self._stopped.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = self._socket.accept()
                self.connections += 1
                arguments = (connection, self.connections)
                thread = threading.Thread(target=self._serve, args=arguments)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        # A client that leaves in the middle ends the script.
        with connection, contextlib.suppress(OSError):
            connection.settimeout(5.0)
            self._talk(connection, number)

    def _talk(self, connection: socket.socket, number: int) -> None:
        if self._scheme == "http":
            while b"\r\n\r\n" not in connection.recv(4096):
                pass
            connection.sendall(self._head)
        self._script(Sending(connection.sendall, self._stopped, number))

    def _send_datagrams(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.connect(("127.0.0.1", self.port))

            def write(data: bytes) -> None:
                for start in range(0, len(data), _DATAGRAM):
                    with contextlib.suppress(ConnectionRefusedError):  # nothing listens yet
                        sender.send(data[start : start + _DATAGRAM])

            with contextlib.suppress(ConnectionAbortedError):
                self._script(Sending(write, self._stopped, 1))
