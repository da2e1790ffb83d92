"""An RTSP server driven by a script: it does what a real one would never do on purpose.

One connection at a time, RTP and RTCP interleaved in it (RFC 2326, section 10.12). The script
gets an ``RtpSender`` after PLAY and sends whatever the test wants a camera to do.
"""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

_PAYLOAD_TYPE = 96
_SSRC = 0x4D41534B
_MAX_PAYLOAD = 1200
_NTP_EPOCH_S = 2_208_988_800  # 1900 to 1970
_START_CODE = re.compile(rb"\x00\x00\x00?\x01")


class RtpSender:
    """Packs access units into RTP for one client. Timestamps count 1/90000 s."""

    def __init__(self, connection: socket.socket, stopped: threading.Event) -> None:
        self._connection = connection
        self._sequence = 0
        self.stopped = stopped

    def wait(self, duration_s: float) -> None:
        """Let time pass between two pictures; ends at once when the server is closed."""
        self.stopped.wait(duration_s)

    def access_unit(self, data: bytes, timestamp: int) -> None:
        """An H.264 access unit with start codes (RFC 6184: single NAL units and FU-A)."""
        units = [unit for unit in _START_CODE.split(data) if unit]
        for number, unit in enumerate(units):
            is_last = number == len(units) - 1
            if len(unit) <= _MAX_PAYLOAD:
                self.packet(unit, timestamp, marker=is_last)
                continue
            indicator, header = unit[0] & 0xE0 | 28, unit[0] & 0x1F
            parts = [unit[i : i + _MAX_PAYLOAD] for i in range(1, len(unit), _MAX_PAYLOAD)]
            for index, part in enumerate(parts):
                start, end = index == 0, index == len(parts) - 1
                fragment = bytes([indicator, header | start << 7 | end << 6]) + part
                self.packet(fragment, timestamp, marker=is_last and end)

    def packet(self, payload: bytes, timestamp: int, *, marker: bool = True) -> None:
        """One RTP packet of video (RFC 3550, section 5.1)."""
        header = struct.pack(
            ">BBHII",
            0x80,
            _PAYLOAD_TYPE | marker << 7,
            self._sequence & 0xFFFF,
            timestamp & 0xFFFFFFFF,
            _SSRC,
        )
        self._sequence += 1
        self._interleaved(0, header + payload)

    def audio(self, timestamp: int) -> None:
        """20 ms of G.711 silence, on the second track."""
        header = struct.pack(">BBHII", 0x80, 0, timestamp // 160 & 0xFFFF, timestamp, _SSRC + 1)
        self._interleaved(2, header + b"\xff" * 160)

    def sender_report(self, unix_time_s: float, timestamp: int) -> None:
        """An RTCP sender report: ``timestamp`` was captured at ``unix_time_s``."""
        ntp_time = round((unix_time_s + _NTP_EPOCH_S) * 2**32)
        report = struct.pack(
            ">BBHIQIII", 0x80, 200, 6, _SSRC, ntp_time, timestamp & 0xFFFFFFFF, 1, 1
        )
        self._interleaved(1, report)

    def _interleaved(self, channel: int, data: bytes) -> None:
        self._connection.sendall(struct.pack(">cBH", b"$", channel, len(data)) + data)


class ScriptedRtspServer:
    """Answers the RTSP dialogue and runs ``script`` after each PLAY; H.264, audio on request."""

    def __init__(
        self,
        script: Callable[[RtpSender], None],
        *,
        with_audio: bool = False,
        encoding: str = "H264",
        session_lines: str = "",
    ) -> None:
        self._script = script
        self._session_lines = session_lines
        self._tracks = [f"m=video 0 RTP/AVP 96\r\na=rtpmap:96 {encoding}/90000\r\n"]
        if with_audio:
            self._tracks.append("m=audio 0 RTP/AVP 0\r\n")
        self._stopped = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self._thread = threading.Thread(target=self._serve, name="scripted-rtsp-server")

    @property
    def url(self) -> str:
        """The address of the media."""
        return f"rtsp://127.0.0.1:{self._listener.getsockname()[1]}/live"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopped.set()
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            # A client that hangs up in the middle is what most scripts end with.
            with connection, contextlib.suppress(ConnectionError, TimeoutError):
                connection.settimeout(5.0)
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        """Answer until PLAY, run the script, then stay silent until the client leaves."""
        while True:
            method, sequence = _read_request(connection)
            if method is None:
                return
            connection.sendall(self._answer(method, sequence).encode())
            if method == "PLAY":
                break
        self._script(RtpSender(connection, self._stopped))
        connection.settimeout(0.05)
        while not self._stopped.is_set():
            with contextlib.suppress(TimeoutError):
                if not connection.recv(4096):
                    return

    def _answer(self, method: str, sequence: str) -> str:
        headers, body = "", ""
        if method == "DESCRIBE":
            body = f"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n{self._session_lines}"
            for index, track in enumerate(self._tracks):
                body += f"{track}a=control:track{index}\r\n"
            headers = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
        elif method.startswith("SETUP"):
            first = 2 * int(method[-1])
            headers = f"Transport: RTP/AVP/TCP;unicast;interleaved={first}-{first + 1}\r\n"
        return f"RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\nSession: 1\r\n{headers}\r\n{body}"


def _read_request(connection: socket.socket) -> tuple[str | None, str]:
    """The method (of SETUP with the track's number) and sequence number of the next request."""
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        chunk = connection.recv(1)
        if not chunk:
            return None, ""
        request += chunk
    text = request.decode()
    method, url = text.split()[:2]
    sequence = re.search(r"CSeq: (\d+)", text)
    track = re.search(r"track(\d)$", url)
    return (f"SETUP{track[1]}" if method == "SETUP" and track else method), (
        sequence[1] if sequence else "0"
    )
