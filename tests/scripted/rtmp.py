"""An RTMP server (Adobe's specification 1.0) whose scripts send FLV, as with a TCP server."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from tests.scripted.server import ScriptedServer, Sending

_CHUNK_SIZE = 65_536
_SET_CHUNK_SIZE, _COMMAND = 1, 20
_FLV_HEADER, _TAG_HEADER, _TAG_END = 13, 11, 4


class ScriptedRtmpServer(ScriptedServer):
    """Answers the dialogue of a player; ``script`` begins when it plays, and sends FLV."""

    refusal: str | None = None  # a status that refuses to play

    @property
    def url(self) -> str:
        """The address of the media."""
        return f"rtmp://127.0.0.1:{self.port}/app/live"

    def _talk(self, connection: socket.socket, number: int) -> None:
        with connection.makefile("rb") as reader:
            hello = reader.read(1 + 1536)
            connection.sendall(b"\x03" + bytes(1536) + hello[1:])
            reader.read(1536)
            connection.sendall(_message(2, _SET_CHUNK_SIZE, 0, struct.pack(">I", _CHUNK_SIZE)))
            chunks = _Chunks()
            while True:
                kind, payload = chunks.read(reader.read)
                if kind != _COMMAND:
                    continue
                name = payload[3 : 3 + payload[2]].decode()
                transaction = payload[3 + payload[2] :][:9]
                if name == "play":
                    break
                if name in ("connect", "createStream"):
                    answer = _text("_result") + transaction + b"\x05" + _number(1.0)
                    connection.sendall(_message(3, _COMMAND, 0, answer))
            level = "error" if self.refusal else "status"
            code = self.refusal or "NetStream.Play.Start"
            status = _object(level=level, code=code, description="-")
            answer = _text("onStatus") + _number(0.0) + b"\x05" + status
            connection.sendall(_message(3, _COMMAND, 0, answer))
            pending = _Tags()
            self._script(
                Sending(lambda data: connection.sendall(pending.add(data)), self._stopped, number)
            )


class _Tags:
    """Repacks FLV, in pieces of any size, into messages."""

    def __init__(self) -> None:
        self._data = b""
        self._skips_header = True

    def add(self, data: bytes) -> bytes:
        self._data += data
        messages = b""
        if self._skips_header and len(self._data) >= _FLV_HEADER:
            self._data, self._skips_header = self._data[_FLV_HEADER:], False
        while not self._skips_header and len(self._data) >= _TAG_HEADER:
            size = int.from_bytes(self._data[1:4], "big")
            if len(self._data) < _TAG_HEADER + size + _TAG_END:
                break
            time_ms = int.from_bytes(self._data[4:7], "big") | self._data[7] << 24
            payload = self._data[_TAG_HEADER : _TAG_HEADER + size]
            messages += _message(4, self._data[0] & 31, time_ms, payload)
            self._data = self._data[_TAG_HEADER + size + _TAG_END :]
        return messages


class _Chunks:
    """Reads the client's messages, in chunks of 128 bytes."""

    def __init__(self) -> None:
        self._headers: dict[int, tuple[int, int]] = {}
        self._parts: dict[int, bytes] = {}

    def read(self, read: Callable[[int], bytes]) -> tuple[int, bytes]:
        """The next message: its kind and content. Raises ``ConnectionError`` at the end."""

        def exactly(count: int) -> bytes:
            data = read(count)
            if len(data) < count:
                raise ConnectionResetError
            return data

        while True:
            first = exactly(1)[0]
            stream, form = first & 63, first >> 6
            header = exactly((11, 7, 3, 0)[form])
            if form < 2:
                self._headers[stream] = (header[6], int.from_bytes(header[3:6], "big"))
            kind, length = self._headers[stream]
            part = self._parts.pop(stream, b"")
            part += exactly(min(128, length - len(part)))
            if len(part) == length:
                return kind, part
            self._parts[stream] = part


def _message(stream: int, kind: int, time_ms: int, payload: bytes) -> bytes:
    if len(payload) > _CHUNK_SIZE:
        raise ValueError(f"the kit sends no message above {_CHUNK_SIZE} bytes")
    header = struct.pack(">B", stream) + time_ms.to_bytes(3, "big")
    header += len(payload).to_bytes(3, "big") + bytes([kind]) + struct.pack("<I", kind > 7)
    return header + payload


def _text(text: str) -> bytes:
    return b"\x02" + struct.pack(">H", len(text)) + text.encode()


def _number(value: float) -> bytes:
    return b"\x00" + struct.pack(">d", value)


def _object(**members: str) -> bytes:
    inside = b"".join(
        struct.pack(">H", len(name)) + name.encode() + _text(value)
        for name, value in members.items()
    )
    return b"\x03" + inside + b"\x00\x00\x09"
