"""Stands between FFmpeg and a camera: an RTSP server on loopback, for one client.

FFmpeg asks for one video track at an address with a secret; for each of its requests the relay
makes one of its own to the camera (``camera.py``). Media over TCP passes through unchanged, media
over UDP goes from the camera to FFmpeg directly.
"""

from __future__ import annotations

import contextlib
import secrets
import select
import socket
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from streamer.errors import SourceError
from streamer.sources.rtsp.camera import OpenAgainError, RtspCamera
from streamer.sources.rtsp.messages import (
    CODING,
    Connection,
    ConnectionEndedError,
    MalformedMessageError,
    Message,
)

RELAY_THREAD_PREFIX = "rtsp-"
_CONTROL = "video"
# A client that does not name the secret by then is not ours.
_SECRET_WAIT_S = 3.0
# The time to send TEARDOWN.
_TEARDOWN_S = 0.5
# Of the socket towards FFmpeg: as much as a camera's own connection would hold, and no more.
_SEND_BUFFER_BYTES = 256 * 1024
# FFmpeg sends a keep-alive request at half of this; sessions of cameras last 60 s, some 30 s.
# At less than 2 s FFmpeg would send one with each packet. Some cameras state 0.
_SESSION_S, _LEAST_SESSION_S = 30, 2


class RtspRelay:
    """Serves FFmpeg while the ``with`` block lasts, one connection after the other."""

    def __init__(self, camera: RtspCamera, stream_id: str, *, transport: str, ipv6: bool) -> None:
        """``transport`` is FFmpeg's option ``rtsp_transport``.

        ``ipv6``: serve on ::1, for FFmpeg receives media over UDP with the same address family.
        """
        self._camera = camera
        self._has_choice = "+" in transport
        self._secret = f"/{secrets.token_urlsafe(24)}"
        self._listener = socket.create_server(
            ("::1" if ipv6 else "127.0.0.1", 0), family=socket.AF_INET6 if ipv6 else socket.AF_INET
        )
        port = self._listener.getsockname()[1]
        self.url = f"rtsp://{'[::1]' if ipv6 else '127.0.0.1'}:{port}{self._secret}"
        self._client: socket.socket | None = None
        self._plays = False
        # The outcome of FFmpeg's last connection, valid once FFmpeg failed to open: why the camera
        # could not be opened (None: it could), and whether FFmpeg is to connect again.
        self.failure: SourceError | None = None
        self.opens_again = False
        self._thread = threading.Thread(
            target=self._run, name=f"{RELAY_THREAD_PREFIX}{stream_id}", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End, with TEARDOWN: cameras keep a session that was not torn down, and have few."""
        for each in (self._listener, self._client):
            if each is not None:
                with contextlib.suppress(OSError):  # closed already
                    each.shutdown(socket.SHUT_RDWR)
        if self._plays:
            self._thread.join(_TEARDOWN_S)
        self._camera.abort()
        self._thread.join(_TEARDOWN_S)  # the resolution of a name cannot be interrupted
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # shut down
                return
            with client:  # closed, for FFmpeg to notice, after the outcome is noted
                try:
                    self._serve(client)
                except OpenAgainError:
                    self.opens_again = True
                except SourceError as error:
                    self.failure = error
                except (OSError, MalformedMessageError):
                    continue  # FFmpeg or the camera closed the connection
                finally:
                    self._plays = False
                    self._camera.close()

    def _serve(self, stream: socket.socket) -> None:
        stream.settimeout(_SECRET_WAIT_S)
        client = Connection(stream)
        request = client.message()
        if not request.start.split("?")[0].endswith(f"{self._secret} RTSP/1.0"):
            return
        self._client = stream
        self.failure, self.opens_again = None, False
        stream.settimeout(None)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        while True:
            method = request.start.partition(" ")[0]
            if method == "DESCRIBE":
                description = self._camera.describe(_CONTROL)
                _answer(client, request, {"Content-Type": "application/sdp"}, description)
            elif method == "SETUP":
                self._set_up(client, request)
            elif method == "PLAY":
                self._camera.play()
                _answer(client, request)
                self._plays = True
                try:
                    self._pump(client, self._camera.connection)
                finally:
                    self._camera.tear_down()
            else:
                _answer(client, request)
            request = client.message()

    def _set_up(self, client: Connection, request: Message) -> None:
        wanted = request.value("transport") or ""
        transport = self._camera.set_up(wanted, is_last_transport=not self._has_choice)
        if transport is None:
            _answer(client, request, status="461 Unsupported Transport")
            return
        _, *agreed = transport.split(";")
        fields = [wanted.split(";")[0]]  # some cameras leave TCP out
        fields += [each for each in agreed if not each.strip().lower().startswith("source=")]
        if "TCP" in wanted:
            if not any(each.strip().lower().startswith("interleaved=") for each in fields):
                fields.append("interleaved=0-1")
        else:
            # FFmpeg would send its own packets to the relay, which is the server it knows.
            fields.append(f"source={self._camera.peer}")
        session_s = min(_SESSION_S, self._camera.session_s or _SESSION_S)
        session = f"1;timeout={max(_LEAST_SESSION_S, session_s)}"
        _answer(client, request, {"Session": session, "Transport": ";".join(fields)})

    def _pump(self, client: Connection, camera: Connection) -> None:
        """Pass media and reports on, until either side hangs up; raises ``OSError`` then."""
        camera.socket.settimeout(None)
        poll = select.poll()
        poll.register(camera.socket, select.POLLIN)
        poll.register(client.socket, select.POLLIN)
        while True:
            while camera.has_unread:
                self._from_camera(client, camera)
            for descriptor, _ in poll.poll():
                if descriptor == camera.socket.fileno():
                    self._from_camera(client, camera)
                else:
                    self._from_client(client, camera)

    def _from_camera(self, client: Connection, camera: Connection) -> None:
        for part in camera.receive():
            if isinstance(part, Message):
                self._camera.received(part)
            else:
                client.send(part)

    def _from_client(self, client: Connection, camera: Connection) -> None:
        for part in client.receive():
            if not isinstance(part, Message):
                camera.send(part)
            elif part.start.startswith("TEARDOWN "):
                raise ConnectionEndedError("FFmpeg ends the session")
            else:  # a keep-alive request, whose answer FFmpeg does not await
                self._camera.keep_alive()


def _answer(
    client: Connection,
    request: Message,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    *,
    status: str = "200 OK",
) -> None:
    fields = {"CSeq": request.value("cseq") or "0", "Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**fields, **(headers or {})}.items())
    client.send(f"RTSP/1.0 {status}\r\n{lines}\r\n".encode(*CODING) + body)
