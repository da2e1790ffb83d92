"""RTSP messages and interleaved frames on a connection (RFC 2326, sections 4 to 7 and 10.12)."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

# Bounds on what a hostile peer can make us hold: a head, a body, and frames ahead of a reply.
_MAX_HEAD_BYTES = 64 * 1024
_MAX_BODY_BYTES = 256 * 1024
_MAX_EARLY_BYTES = 4 * 1024 * 1024
# Keeps the bytes of any other coding.
CODING = ("utf-8", "surrogateescape")
_READ_BYTES = 64 * 1024
_FRAME = 0x24  # "$", which begins an interleaved frame: channel, length, data
_FRAME_HEADER_BYTES = 4
_START = re.compile(rb"RTSP/\d|[A-Z_]{3,20} ")
_LONGEST_START = 21
# Where reading resumes after junk: a frame, or a message whose end may not have arrived yet.
_NEXT_START = re.compile(rb"\$|RTSP/|R(?:T(?:SP?)?)?\Z|[A-Z_]{3,20} ")
_HEAD_END = re.compile(rb"\r?\n\r?\n")


class MalformedMessageError(Exception):
    """The peer sent no RTSP message, or one that is too large; the text states which."""


class ConnectionEndedError(ConnectionError):
    """The peer closed the connection."""


@dataclass(frozen=True, slots=True)
class Message:
    """A request or a reply. Header names are in lower case."""

    start: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""

    @property
    def status(self) -> int | None:
        """The status code of a reply; None for a request."""
        found = re.match(r"RTSP/\d+\.\d+ +(\d{3})\b", self.start)
        return int(found[1]) if found else None

    @property
    def is_success(self) -> bool:
        """Whether a request was carried out; 250 is one from a camera whose disk is nearly full."""
        return self.status is not None and 200 <= self.status < 300

    @property
    def reason(self) -> str:
        """Status code and phrase, for a message to the operator."""
        return printable(self.start.partition(" ")[2])

    def values(self, name: str) -> list[str]:
        """The values of every header of this name."""
        return [value for key, value in self.headers if key == name]

    def value(self, name: str) -> str | None:
        """The value of the first header of this name."""
        return next(iter(self.values(name)), None)


class Connection:
    """A connection and what was received but not yet used. One thread."""

    def __init__(self, stream: socket.socket) -> None:
        self.socket = stream
        self._pending = b""
        self._frame_left = 0
        self._parts: list[bytes | Message] = []
        self._has_received = self._has_spoken = False

    @property
    def is_garbage(self) -> bool:
        """Whether the peer sent something, and no message."""
        return self._has_received and not self._has_spoken

    @property
    def has_unread(self) -> bool:
        """Whether ``receive`` has something at once that no poll of the socket shows."""
        if self._parts:
            return True
        return isinstance(self.socket, ssl.SSLSocket) and self.socket.pending() > 0

    def send(self, data: bytes) -> None:
        """Send all of ``data``. Raises ``OSError``."""
        self.socket.sendall(data)

    def receive(self) -> list[bytes | Message]:
        """Wait for data: messages, and runs of interleaved frames, the last maybe in part.

        Raises ``ConnectionEndedError``, ``OSError``, ``MalformedMessageError``.
        """
        if not self._parts:
            data = self.socket.recv(_READ_BYTES)
            if not data:
                raise ConnectionEndedError("the connection was closed")
            self._has_received = True
            return self._split(data)
        parts, self._parts = self._parts, []
        return parts

    def message(self) -> Message:
        """Wait for a message; frames that come before it are kept for ``receive``.

        Some cameras send the first picture before they answer PLAY.
        """
        early: list[bytes | Message] = []
        while True:
            parts = self.receive()
            for index, part in enumerate(parts):
                if isinstance(part, Message):
                    self._parts = early + parts[index + 1 :]
                    return part
                early.append(part)
            if sum(len(part) for part in early if isinstance(part, bytes)) > _MAX_EARLY_BYTES:
                raise MalformedMessageError("sent media and no answer")

    def _split(self, data: bytes) -> list[bytes | Message]:
        data = self._pending + data
        parts: list[bytes | Message] = []
        run, position = 0, min(self._frame_left, len(data))
        self._frame_left -= position
        while position < len(data):
            if data[position] == _FRAME:
                if len(data) - position < _FRAME_HEADER_BYTES:
                    break
                size = _FRAME_HEADER_BYTES + int.from_bytes(data[position + 2 : position + 4])
                self._frame_left = max(0, position + size - len(data))
                position = min(position + size, len(data))
                continue
            if position > run:
                parts.append(data[run:position])
            run = position
            if not _START.match(data, position):
                if position + _LONGEST_START > len(data) and _may_start(data[position:]):
                    break
                # Empty lines, and the junk that some cameras send between frames.
                if data[position] in b"\r\n":
                    position += 1
                else:
                    found = _NEXT_START.search(data, position + 1)
                    position = found.start() if found else len(data)
                run = position
                continue
            message, end = _parse(data, position)
            if message is None:
                break
            parts.append(message)
            self._has_spoken = True
            run = position = end
        if position > run:
            parts.append(data[run:position])
        self._pending = data[position:]
        return parts


def printable(text: str, most: int = 80) -> str:
    """A peer's text as it may be shown: printable ASCII, shortened."""
    return "".join(each if " " <= each <= "~" else "?" for each in text.strip()[:most])


def _may_start(data: bytes) -> bool:
    """Whether a message may begin with ``data``, once more of it is there."""
    return b"RTSP/".startswith(data[:5]) or re.fullmatch(rb"[A-Z_]+", data) is not None


def _parse(data: bytes, start: int) -> tuple[Message | None, int]:
    """The message at ``start`` and where it ends; None while a part of it is missing."""
    found = _HEAD_END.search(data, start)
    if (found.start() if found else len(data)) - start > _MAX_HEAD_BYTES:
        raise MalformedMessageError(f"sent a head of more than {_MAX_HEAD_BYTES} bytes")
    if found is None:
        return None, start
    first, *lines = re.split(r"\r?\n", data[start : found.start()].decode(*CODING))
    headers = []
    for line in lines:
        name, _, value = line.partition(":")
        headers.append((name.strip().lower(), value.strip()))
    head = Message(first.strip(), headers)
    length = head.value("content-length") or "0"
    if not re.fullmatch(r"\d{1,9}", length) or int(length) > _MAX_BODY_BYTES:
        raise MalformedMessageError(f"announced a body of {printable(length, 20)} bytes")
    end = found.end() + int(length)
    if end > len(data):
        return None, start
    return Message(head.start, headers, data[found.end() : end]), end
