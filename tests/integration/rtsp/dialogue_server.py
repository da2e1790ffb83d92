"""A scripted camera that answers by a rule: it refuses, redirects, asks for a login, hangs up.

with DialogueServer(lambda request: "404 Not Found" if request.method == "OPTIONS" else None)
"""

from __future__ import annotations

import hashlib
import itertools
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.integration.rtsp.clips import encode
from tests.integration.rtsp.scripted_server import RtpSender, ScriptedRtspServer

HANG_UP, SILENCE = "hang up", "silence"
AUDIO = "m=audio 0 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n"
METADATA = "m=application 0 RTP/AVP 107\r\na=rtpmap:107 vnd.onvif.metadata/90000\r\n"
BACKCHANNEL = "m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=sendonly\r\n"
VIDEO = "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"
UNITS = encode("h264", 16)


@dataclass(frozen=True)
class Request:
    """What the client asked. ``track`` is the number of SETUP's track."""

    method: str
    uri: str
    text: str
    track: int | None

    def header(self, name: str) -> str | None:
        """The value of a header."""
        found = re.search(rf"^{name}: (.*?)\r$", self.text, re.MULTILINE)
        return found[1] if found else None


# A status with further header lines, HANG_UP or SILENCE; None for the ordinary answer.
Rule = Callable[[Request], str | None]


def play_on(sender: RtpSender) -> None:
    """Pictures until the client leaves."""
    for index in itertools.count():
        if sender.stopped.is_set():
            return
        sender.access_unit(UNITS[index % len(UNITS)], index * 3600)
        sender.wait(0.02)


class DialogueServer(ScriptedRtspServer):
    """``requests`` are those of all connections, in order."""

    def __init__(
        self,
        rule: Rule,
        tracks: Sequence[str] = (),
        script: Callable[[RtpSender], None] = play_on,
        address: str = "127.0.0.1",
    ) -> None:
        super().__init__(script)
        if address != "127.0.0.1":
            self._listener.close()
            self._listener = socket.create_server((address, 0))
            self._listener.settimeout(0.05)
        self.port = self._listener.getsockname()[1]
        self._address = address
        self._rule = rule
        self._tracks += tracks
        self.requests: list[Request] = []

    @property
    def url(self) -> str:
        return f"rtsp://{self._address}:{self.port}/live"

    @property
    def methods(self) -> list[str]:
        """The methods asked, SETUP with its track's number."""
        return [
            each.method + ("" if each.track is None else str(each.track)) for each in self.requests
        ]

    def _talk(self, connection: socket.socket) -> None:
        while True:
            request = self._read(connection)
            if request is None:
                return
            if not self._answered(connection, request):
                return
            if request.method == "PLAY" and self._rule(request) is None:
                break
        self._script(RtpSender(connection, self._stopped))

    def _read(self, connection: socket.socket) -> Request | None:
        text = b""
        while not text.endswith(b"\r\n\r\n"):
            received = connection.recv(1)
            if not received:
                return None
            text += received
        method, uri = text.decode("latin-1").split()[:2]
        track = re.search(r"track(\d)$", uri) if method == "SETUP" else None
        request = Request(method, uri, text.decode("latin-1"), int(track[1]) if track else None)
        self.requests.append(request)
        return request

    def _answered(self, connection: socket.socket, request: Request) -> bool:
        """Answer; false to hang up."""
        answer = self._rule(request)
        sequence = request.header("CSeq") or "0"
        if answer == HANG_UP:
            return False
        if answer is None:
            name = request.method + ("" if request.track is None else str(request.track))
            connection.sendall(self._answer(name, sequence).encode())
        elif answer != SILENCE:
            status, _, lines = answer.partition("\r\n")
            lines = f"{lines}\r\n" if lines else ""
            text = f"RTSP/1.0 {status}\r\nCSeq: {sequence}\r\n{lines}\r\n"
            connection.sendall(text.encode("latin-1"))
        return True


def asking_for(
    *fields: str, user: str = "admin", password: str = "pw", hangs_up: bool = False
) -> Rule:
    """A rule that wants a login: ``fields`` are the values of ``WWW-Authenticate`` headers."""
    refusal = "401 Unauthorized" + "".join(f"\r\nWWW-Authenticate: {each}" for each in fields)

    def rule(request: Request) -> str | None:
        given = request.header("Authorization")
        if request.method == "OPTIONS" or (given and is_right(request, given, user, password)):
            return None
        return refusal

    return rule


def is_right(request: Request, given: str, user: str, password: str) -> bool:
    """Whether a Digest answer is right, by the formulas of RFC 7616, section 3.4."""
    found = re.findall(r'(\w+)=(?:"([^"]*)"|([^",\s]*))', given)
    values = {name: quoted or plain for name, quoted, plain in found}
    algorithm = values.get("algorithm", "MD5").upper()
    name = "sha256" if "256" in algorithm else "md5"

    def digest(*parts: str) -> str:
        return hashlib.new(name, ":".join(parts).encode()).hexdigest()

    first = digest(user, values["realm"], password)
    if algorithm.endswith("SESS"):
        first = digest(first, values["nonce"], values["cnonce"])
    second = digest(request.method, values["uri"])
    middle = (values["nc"], values["cnonce"], values["qop"]) if "qop" in values else ()
    return values["uri"] == request.uri and values["response"] == digest(
        first, values["nonce"], *middle, second
    )
