"""The files of a daemon's state: a JSON index, and a safetensors file for each stream's objects.

After an interruption at any point the folder holds one complete state: new files are written beside
the old ones and renamed, the index last. Unreadable files are moved aside, never deleted, and never
end the daemon.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from streamer.runtime.private_files import make_private_folder
from streamer.streams.state.base import Memories
from streamer.streams.state.lock import FolderLock
from streamer.streams.state.memory_file import decode_memories, encode_memories
from streamer.streams.state.places import WRITING, write_whole
from streamer.streams.state.records import MemoryFile, StreamRecord
from tracker.memory.object_memory import ObjectMemory

FORMAT = "masklet-state"
VERSION = 1
INDEX = "state.json"
MAXIMUM_INDEX_BYTES = 16 << 20
MAXIMUM_MEMORY_BYTES = 1 << 30
SET_ASIDE_KEPT = 5
_log = logging.getLogger(__name__)


class _Index(Struct, frozen=True, forbid_unknown_fields=True):
    format: str
    version: int
    saved_time_ns: int
    streams: dict[str, StreamRecord]


class _Head(Struct, frozen=True):
    format: str = ""
    version: int = 0


class StateStore:
    """Reads and writes the state in one folder, locked from ``open`` until ``close``.

    Not for the event loop: every method waits for the disk. Bounds: one index, one memory file per
    stream, and the ``SET_ASIDE_KEPT`` newest folders of old state.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = str(folder)
        self._lock = FolderLock(folder)
        self._memory_files: dict[str, MemoryFile] = {}

    def open(self) -> None:
        """Make and lock the folder. Raises ``ConfigError``."""
        make_private_folder("state_directory", self.folder)
        self._lock.acquire()

    def close(self) -> None:
        """Unlock the folder."""
        self._lock.release()

    def load(self) -> dict[str, StreamRecord]:
        """The saved records; none if there is no readable state."""
        self._remove_unfinished()
        path = self.folder / INDEX
        try:
            if path.stat().st_size > MAXIMUM_INDEX_BYTES:
                raise ValueError(f"larger than {MAXIMUM_INDEX_BYTES >> 20} MiB")
            index = _decode(path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError, msgspec.MsgspecError) as error:
            self._set_aside_unreadable(path, error)
            return {}
        self._memory_files = {
            stream_id: record.memory
            for stream_id, record in index.streams.items()
            if record.memory is not None
        }
        return index.streams

    def others_beside(self) -> list[str]:
        """The folders of other daemons' states, of other control endpoints for example."""
        indexes = sorted(self.folder.parent.glob(f"daemon*/{INDEX}"))
        return [str(path.parent) for path in indexes if path.parent != self.folder]

    def memories(self, stream_id: str) -> dict[int, ObjectMemory]:
        """The memories of a stream's objects; empty if none are readable."""
        kept = self._memory_files.get(stream_id)
        if kept is None:
            return {}
        path = self.folder / kept.name
        try:
            if path.stat().st_size > MAXIMUM_MEMORY_BYTES:
                raise ValueError(f"larger than {MAXIMUM_MEMORY_BYTES >> 20} MiB")
            content = path.read_bytes()
            if hashlib.sha256(content).hexdigest() != kept.sha256:
                raise ValueError("damaged: its sha256 differs")
            return decode_memories(content)[0]
        except FileNotFoundError:
            _log.warning("%s is missing: the objects of %s cannot be resumed", path, stream_id)
        except (OSError, ValueError) as error:
            self._set_aside_unreadable(path, error)
        del self._memory_files[stream_id]
        return {}

    def save(
        self, records: Mapping[str, StreamRecord], memories: Mapping[str, Memories]
    ) -> Sequence[str]:
        """Replace the state by ``records``; ``memories``: of the streams whose objects changed.

        No other daemon can have one. Raises ``OSError`` if the disk refuses; the previous state is
        then untouched.
        """
        files = {
            stream_id: kept
            for stream_id, kept in self._memory_files.items()
            if stream_id in records and stream_id not in memories
        }
        written: list[MemoryFile] = []
        try:
            for stream_id, objects in memories.items():
                if objects and stream_id in records:
                    written.append(self._write_memories(stream_id, objects))
                    files[stream_id] = written[-1]
            index = _Index(
                FORMAT,
                VERSION,
                time.time_ns(),
                {
                    stream_id: msgspec.structs.replace(record, memory=files.get(stream_id))
                    for stream_id, record in records.items()
                },
            )
            encoded = msgspec.json.format(msgspec.json.encode(index), indent=1)
            write_whole(self.folder / INDEX, encoded)
        except OSError:
            for each in written:
                (self.folder / each.name).unlink(missing_ok=True)
            self._remove_unfinished()
            raise
        self._memory_files = files
        self._remove_unreferenced()
        return ()

    def set_aside(self, reason: str) -> str | None:
        """Move the whole state into a folder beside it; returns that, None without a state."""
        found = [*self.folder.glob(INDEX), *self.folder.glob("memory-*.safetensors")]
        self._memory_files = {}
        return str(self._move_aside(found, reason)) if found else None

    def copy_aside(self) -> None:
        """Copy the whole state, as last read or written, into a folder beside it."""
        try:
            target = self._folder_aside("not-resumed")
            for path in (self.folder / INDEX, *self.folder.glob("memory-*.safetensors")):
                shutil.copy2(path, target)
        except OSError as error:
            _log.warning("the saved state cannot be copied (%s): the next write replaces it", error)
        else:
            _log.warning(
                "the saved state is copied to %s: to resume it, use the model that made it, at the "
                "same model.engine.image_size, with state_directory=%s",
                target,
                target,
            )

    def _set_aside_unreadable(self, path: Path, error: Exception) -> None:
        try:
            if path.name == INDEX:
                where = self.set_aside("unreadable")
            else:
                where = str(self._move_aside([path], "unreadable"))
        except OSError as moving:
            _log.warning("%s cannot be read (%s) or moved aside: %s", path, error, moving)
        else:
            _log.warning("%s cannot be read (%s); set aside in %s", path, error, where)

    def _move_aside(self, found: list[Path], reason: str) -> Path:
        target = self._folder_aside(reason)
        for path in found:
            path.rename(target / path.name)
        return target

    def _folder_aside(self, reason: str) -> Path:
        """A new folder; the oldest ones beyond the bound are removed."""
        seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))
        target = self.folder / f"aside-{stamp}.{nanoseconds:09}Z-{reason}"
        target.mkdir(mode=0o700)
        for old in sorted(self.folder.glob("aside-*"))[:-SET_ASIDE_KEPT]:
            shutil.rmtree(old, ignore_errors=True)
        return target

    def _write_memories(self, stream_id: str, objects: Memories) -> MemoryFile:
        content = encode_memories(objects)
        sha256 = hashlib.sha256(content).hexdigest()
        name = f"memory-{stream_id}-{time.time_ns()}.safetensors"
        write_whole(self.folder / name, content)
        return MemoryFile(name, sha256)

    def _remove_unfinished(self) -> None:
        for path in self.folder.glob(f"*{WRITING}"):
            path.unlink(missing_ok=True)

    def _remove_unreferenced(self) -> None:
        referenced = {each.name for each in self._memory_files.values()}
        for path in self.folder.glob("memory-*.safetensors"):
            if path.name not in referenced:
                path.unlink(missing_ok=True)


def _decode(content: bytes) -> _Index:
    head = msgspec.json.decode(content, type=_Head)
    if head.format != FORMAT:
        raise ValueError("not a Masklet state")
    if head.version != VERSION:
        raise ValueError(f"its version is {head.version}, this Masklet reads {VERSION}")
    return msgspec.json.decode(content, type=_Index)
