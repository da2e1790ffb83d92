"""The folder of one clip's results, and what it needs to go on after an interruption.

``.masklet/`` in it holds ``job.json`` (what was asked for), ``record.jsonl`` (the results so far)
and ``progress.safetensors`` (where it stands, replaced as a whole). A run that ended anywhere, by a
crash too, goes on from the last progress: what was written after it is written again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from streamer.errors import ConfigError
from streamer.recorded.outputs.files import whole_file
from streamer.recorded.record import Record, frame_line
from streamer.recorded.tracking import FrameTracks, Progress

_OURS = ".masklet"
# What a job may have written, and ``--overwrite`` removes.
RESULT_FOLDERS = ("masks", "palette", "confidences", "preview")
RESULT_FILES = (
    "boxes.json", "mot.txt", "rle.jsonl", "coco.json", "youtube_vis.json", "debug.mp4",
)  # fmt: skip


class ResultFolder:
    """Open by one process at a time: a context manager."""

    def __init__(self, path: Path, asked: Mapping[str, Any], *, overwrite: bool = False) -> None:
        """``asked``: what the results depend on, as JSON.

        Raises ``ConfigError`` if nothing can be written, if another process writes here, and for
        the results of another job.
        """
        self.path = path
        self._own = path / _OURS
        self._lock = FileLock(self._own / "lock")
        try:
            self._own.mkdir(parents=True, exist_ok=True)
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(
                f"{path}: another masklet segment writes there; wait for it"
            ) from None
        except OSError as error:
            raise ConfigError(
                f"{path}: nothing can be written there ({error.strerror}); choose another --out"
            ) from error
        try:
            if overwrite:
                self._remove_results()
            self.state = self._checked(dict(asked))
        except BaseException:
            self._lock.release()
            raise
        self._record: BinaryIO | None = None
        self._record_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._record is not None:
            with suppress(OSError):  # a full disk: what was saved is on it
                self._record.close()
        self._lock.release()

    def progress(self) -> Progress | None:
        """Where an earlier run stopped; None for a new job. To be called before ``add``."""
        size, progress = 0, None
        try:
            with safe_open(self._progress_file, "pt") as file:
                facts = {key: int(value) for key, value in file.metadata().items()}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            size = facts.pop("record_bytes")
            progress = Progress(**facts, session=tensors)
        except FileNotFoundError:
            pass
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise ConfigError(
                f"{self._progress_file} is damaged ({error}); begin anew with --overwrite"
            ) from error
        self._record = self._record_file.open("ab")
        if self._record.tell() < size:
            raise ConfigError(f"{self._record_file} was cut off; begin anew with --overwrite")
        self._record.truncate(size)
        self._record_bytes = size
        return progress

    def add(self, frame: FrameTracks) -> None:
        """Append to the record."""
        assert self._record is not None, "progress was asked for"
        line = json.dumps(frame_line(frame)).encode() + b"\n"
        self._record.write(line)
        self._record_bytes += len(line)

    def save(self, progress: Progress) -> None:
        """Keep all that was added, and where it stands."""
        assert self._record is not None, "progress was asked for"
        self._record.flush()
        os.fsync(self._record.fileno())
        facts = {
            "pass_index": str(progress.pass_index),
            "frames": str(progress.frames),
            "record_bytes": str(self._record_bytes),
        }
        partial = self._progress_file.with_suffix(".partial")
        try:
            save_file(dict(progress.session), partial, facts)
            partial.replace(self._progress_file)
        finally:
            partial.unlink(missing_ok=True)

    def record(self, frames: int, height: int, width: int, names: Mapping[int, str]) -> Record:
        """What was saved, to be read."""
        return Record(self._record_file, frames, height, width, names)

    def note(self, key: str) -> None:
        """Note in ``state`` that something was written from the first frame on."""
        self.state[key] = True
        self._write_state()

    @property
    def _progress_file(self) -> Path:
        return self._own / "progress.safetensors"

    @property
    def _record_file(self) -> Path:
        return self._own / "record.jsonl"

    def _checked(self, asked: dict[str, Any]) -> dict[str, Any]:
        file = self._own / "job.json"
        try:
            state: dict[str, Any] = json.loads(file.read_text())
        except FileNotFoundError:
            self.state = {"asked": asked}
            self._write_state()
            return self.state
        except ValueError as error:
            raise ConfigError(f"{file} is damaged; begin anew with --overwrite") from error
        before = state.get("asked", {})
        other = [key for key in asked if before.get(key) != asked[key]]
        if other:
            raise ConfigError(
                f"{self.path} holds the results of a job with another {' and '.join(other)}: "
                "choose another --out, or begin anew with --overwrite"
            )
        return state

    def _write_state(self) -> None:
        with whole_file(self._own / "job.json") as file:
            json.dump(self.state, file, indent=1)

    def _remove_results(self) -> None:
        for name in RESULT_FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in RESULT_FILES:
            (self.path / name).unlink(missing_ok=True)
        for file in (self._own / "job.json", self._progress_file, self._record_file):
            file.unlink(missing_ok=True)
