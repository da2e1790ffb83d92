"""A small media server: aiortc behind the standard library's HTTP server, in threads of its own."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType
from typing import Self

from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcrtpsender import RTCRtpSender

from streamer.webrtc.peer_loop import PeerLoop
from tests.streamer.webrtc.numbered_scene import NumberedTrack

PATH = "/live/whep"


@dataclass
class Request:
    """What a client sent."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Reply:
    """What it is answered with."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class WhepServer:
    """Serves a numbered scene at ``PATH``; a ``script`` may answer requests in its place."""

    def __init__(
        self,
        *,
        port: int = 0,
        codec: str | None = None,
        script: Callable[[Request], Reply | None] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.requests: list[Request] = []
        self.track = NumberedTrack()
        self._codec = codec
        self._script = script
        self._connections: dict[str, RTCPeerConnection] = {}
        self._loop = PeerLoop("whep-server")
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(self.command, self.path, dict(self.headers))
                server.requests.append(request)
                reply = server.reply(request, body)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            do_DELETE = do_POST

            def log_message(self, *_: object) -> None:
                return

        self._http = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._http.daemon_threads = True
        if tls is not None:
            self._http.socket = tls.wrap_socket(self._http.socket, server_side=True)
        self.port = self._http.server_address[1]
        self._thread = Thread(target=self._http.serve_forever, args=(0.01,), name="whep-http")

    def __enter__(self) -> Self:
        self._loop.__enter__()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
        for connection in list(self._connections.values()):
            self._loop.run(connection.close())
        self.track.stop()
        self._loop.__exit__(None, None, None)

    @property
    def viewers(self) -> int:
        """Sessions that were not deleted."""
        return len(self._connections)

    def fall_silent(self) -> None:
        """Stop sending, without notice."""
        self.track.silent = True

    def reply(self, request: Request, body: bytes) -> Reply:
        """The script's answer, else that of a media server."""
        scripted = self._script(request) if self._script else None
        if scripted is not None:
            return scripted
        if request.method == "DELETE":
            connection = self._connections.pop(request.path, None)
            if connection is None:
                return Reply(404)
            self._loop.run(connection.close())
            return Reply(200)
        if request.path.partition("?")[0] != PATH:
            return Reply(404)
        answer = self._loop.run(self._answer(body.decode()))
        location = f"{PATH}/session-{len(self._connections)}"
        self._connections[location] = answer[0]
        headers = {"Content-Type": "application/sdp", "Location": location}
        return Reply(201, headers, answer[1].encode())

    async def _answer(self, offer: str) -> tuple[RTCPeerConnection, str]:
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        transceiver = connection.addTransceiver(self.track, direction="sendonly")
        if self._codec is not None:
            capabilities = RTCRtpSender.getCapabilities("video").codecs
            wanted = (f"video/{self._codec}", "video/rtx")
            transceiver.setCodecPreferences([c for c in capabilities if c.mimeType in wanted])
        await connection.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await connection.setLocalDescription()
        return connection, connection.localDescription.sdp
