"""The state store at an address that several daemons can reach: a fenced file for each stream.

A stream's file holds its record and its objects' memories together, as safetensors, so that one
write is one whole state of it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import msgspec

from streamer.config.state_address import StateAddress
from streamer.errors import ConfigError
from streamer.streams.state.base import Memories
from streamer.streams.state.fenced_files import FencedFiles, StaleTokenError
from streamer.streams.state.memory_file import decode_memories, encode_memories
from streamer.streams.state.places import place_at
from streamer.streams.state.records import StreamRecord
from tracker.memory.object_memory import ObjectMemory

_RECORD = "masklet-stream-1"
_log = logging.getLogger(__name__)
Saved = tuple[StreamRecord, dict[int, ObjectMemory]]


class SharedStore:
    """Reads and writes streams' state at an address, each under its fencing token.

    A daemon alone loads everything and writes with a token above all that it found: of two
    daemons at one address the later one has the streams, and the earlier one saves no more. In a
    fleet each stream is claimed with the token of its placement, and nothing is loaded. Bounds:
    those of ``FencedFiles``; memories are kept only from ``load`` until ``memories``.
    """

    def __init__(self, address: StateAddress) -> None:
        self.place = str(address)
        self._address = address
        self._token = 1
        self._tokens: dict[str, int] = {}
        self._saved: dict[str, StreamRecord] = {}
        self._stale: set[str] = set()
        self._loaded: dict[str, dict[int, ObjectMemory]] = {}

    def open(self) -> None:
        """Connect, and try a write. Raises ``ConfigError``."""
        try:
            self._files = FencedFiles(place_at(self._address))
            self._files.probe()
        except OSError as error:
            raise ConfigError(
                f"state_directory: {self.place} cannot be written ({error}); check address, "
                "credentials and network, or choose another"
            ) from error

    def load(self) -> dict[str, StreamRecord]:
        """The records of all streams. Raises ``ConfigError`` if the store does not answer:
        a start without them would replace them.
        """
        records: dict[str, StreamRecord] = {}
        try:
            for stream_id in self._files.names():
                self._token = max(self._token, self._files.token(stream_id) + 1)
                saved = self._read(stream_id)
                if saved is not None:
                    records[stream_id], self._loaded[stream_id] = saved
        except OSError as error:
            raise ConfigError(
                f"state_directory: the state cannot be read from {self.place} ({error}); start "
                "again when it can, or choose another"
            ) from error
        self._saved = dict(records)
        return records

    def claim(self, stream_id: str, token: int) -> Saved | None:
        """What is saved of a stream that this daemon writes from now on, with ``token``.

        None without readable state. Raises ``StaleTokenError`` if another has a greater token,
        and ``OSError``.
        """
        newest = self._files.token(stream_id)
        if newest > token:
            raise StaleTokenError(stream_id, token, newest)
        saved = self._read(stream_id)
        self._tokens[stream_id] = token
        self._stale.discard(stream_id)
        return saved

    def give_up(self, stream_id: str) -> None:
        """Write a claimed stream no more; its state stays for the next holder."""
        self._tokens.pop(stream_id, None)
        self._saved.pop(stream_id, None)

    def memories(self, stream_id: str) -> dict[int, ObjectMemory]:
        """The memories of a loaded stream's objects, once."""
        return self._loaded.pop(stream_id, {})

    def others_beside(self) -> Sequence[str]:
        """None: an address is chosen."""
        return ()

    def save(
        self, records: Mapping[str, StreamRecord], memories: Mapping[str, Memories]
    ) -> Sequence[str]:
        """Write the changed ones of ``records``, and remove streams that are not among them."""
        stale = []
        for stream_id in {*records, *self._saved} - self._stale:
            token = self._tokens.get(stream_id, self._token)
            try:
                if stream_id not in records:
                    self._files.remove(stream_id, token)
                    self.give_up(stream_id)
                elif stream_id in memories or records[stream_id] != self._saved.get(stream_id):
                    record, objects = records[stream_id], memories.get(stream_id)
                    if objects is None:
                        before = self._read(stream_id)
                        objects = {} if before is None else before[1]
                    content = encode_memories(
                        objects, {_RECORD: msgspec.json.encode(record).decode()}
                    )
                    self._files.write(stream_id, token, content)
                    self._saved[stream_id] = record
            except StaleTokenError as error:
                _log.warning("the state of a stream is not saved any more: %s", error)
                self.give_up(stream_id)
                self._stale.add(stream_id)
                stale.append(stream_id)
        return stale

    def set_aside(self, reason: str) -> str | None:
        """Move all streams' state below this address. Raises ``ConfigError``."""
        try:
            names = self._files.names()
            if not names:
                return None
            target = self._files.copy_aside(names, reason)
            for stream_id in names:
                self._files.remove(stream_id, self._files.token(stream_id) + 1)
        except OSError as error:
            raise ConfigError(
                f"state_directory: the old state in {self.place} cannot be moved ({error})"
            ) from error
        return f"{self.place}/{target}"

    def copy_aside(self) -> None:
        """Copy the state of this daemon's streams, which the next writes replace."""
        try:
            target = self._files.copy_aside(self._tokens.keys() | self._saved.keys(), "not-resumed")
        except OSError as error:
            _log.warning("the saved state cannot be copied (%s): the next write replaces it", error)
        else:
            _log.warning("the saved state is copied to %s/%s", self.place, target)

    def close(self) -> None:
        """Nothing is held."""

    def _read(self, stream_id: str) -> Saved | None:
        try:
            found = self._files.read(stream_id, _decoded)
        except ValueError as error:
            _log.warning("the saved state of stream %s is not used: %s", stream_id, error)
            return None
        return None if found is None else found[1]


def _decoded(content: bytes) -> Saved:
    memories, metadata = decode_memories(content)
    if _RECORD not in metadata:
        raise ValueError("not the state of a stream of this version")
    try:
        return msgspec.json.decode(metadata[_RECORD], type=StreamRecord), memories
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from error
