"""One clip of a job: its folder, its way through the tracker, and what is written.

Also where it reports, and how it ends early: ``StoppedError``, ``DiskFullError``.
"""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from streamer.errors import ConfigError, MaskletError
from streamer.recorded.clip import Clip
from streamer.recorded.folder import ResultFolder
from streamer.recorded.job_options import JobOptions
from streamer.recorded.outputs.boxes import write_boxes, write_mot
from streamer.recorded.outputs.coco import write_coco, write_rle, write_youtube_vis
from streamer.recorded.outputs.confidences import Confidences
from streamer.recorded.outputs.debug import write_debug_video
from streamer.recorded.outputs.masks import MaskPictures
from streamer.recorded.prompts import FramePrompts
from streamer.recorded.record import Record
from streamer.recorded.tracking import ClipRun, FrameTracks
from tracker import Tracker

# How often a run notes where it stands: the work that a crash costs.
_SAVE_EVERY_S = 20.0
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NAMED_FRAMES = 10


class Report(Protocol):
    """Where a job reports; called in its thread."""

    def begin(self, frames: int, done: int) -> None:
        """So many frames are to be tracked, over all clips; some were done before."""

    def frame(self) -> None:
        """A frame is done."""

    def stage(self, text: str, frames: int) -> None:
        """Something else begins, with a ``frame`` for each of so many frames."""

    def line(self, text: str) -> None:
        """Something to tell the user."""


class StoppedError(MaskletError):
    """The job was asked to stop; what is done is kept."""


class DiskFullError(MaskletError):
    """The disk is full; the message says what is missing."""


class ClipWork:
    """One clip of a job: its folder, its way through the tracker, and what is written."""

    def __init__(
        self,
        clip: Clip,
        prompts: FramePrompts,
        names: Mapping[int, str],
        tracker: Tracker,
        options: JobOptions,
        stack: ExitStack,
    ) -> None:
        self.clip = clip
        self.prompts = prompts
        self.names = names
        self._outputs = outputs = options.outputs
        asked = {
            "clip": f"{clip.path.name}, {clip.frames} frames of {clip.width}×{clip.height}",
            "prompts": fingerprint(prompts),
            "direction": str(options.direction),
            "model": f"{tracker.identity.name} {tracker.identity.fingerprint}",
        }
        self.folder = stack.enter_context(
            ResultFolder(options.out / clip.name, asked, overwrite=options.overwrite)
        )
        progress = self.folder.progress()
        self.run = ClipRun(clip, prompts, options.direction, resume=progress)
        ids = self.run.object_ids
        form = outputs.confidences
        if form is not None and progress is not None and not self.folder.state.get(form):
            raise ConfigError(
                f"{self.folder.path} was begun without --confidences {form}, which come with the "
                "tracking: begin anew with --overwrite"
            )
        self._masks = MaskPictures(self.folder.path, ids) if outputs.masks else None
        self._confidences = None if form is None else Confidences(self.folder.path, ids, form)
        if progress is None:
            for key in ("masks" if outputs.masks else None, form):
                if key is not None:
                    self.folder.note(key)
        self._saved_s = time.monotonic()

    def add(self, frame: FrameTracks) -> None:
        """Write what is written frame by frame."""
        if self._masks is not None:
            self._masks.write(frame)
        if self._confidences is not None:
            self._confidences.write(frame)
        self.folder.add(frame)
        self.run.confirm()
        if time.monotonic() - self._saved_s > _SAVE_EVERY_S:
            self.save()

    def save(self) -> None:
        """Keep what is done."""
        self.folder.save(self.run.progress)
        self._saved_s = time.monotonic()

    def missing(self) -> str:
        """What is not written yet; empty if nothing is."""
        left = self.run.frames - self.run.frames_done
        files = ", ".join(name for name, _ in self._files())
        parts = [f"{left} of {self.run.frames} frames"] if left else []
        return f"{self.clip.name}: {' and '.join([*parts, files])}" if parts or files else ""

    def finish(self, report: Report, stop: Callable[[], bool]) -> None:
        """Write what needs the whole clip, unless it is there."""
        if not self._outputs.tracks:
            return
        clip = self.clip
        record = self.folder.record(clip.frames, clip.height, clip.width, self.names)
        try:
            if self._masks is not None and not self.folder.state.get("masks"):
                report.stage(f"{self.clip.name}: masks", self.clip.frames)
                for frame in record:
                    self._masks.write(frame)
                    report.frame()
                    if stop():
                        raise StoppedError("stopped; the same command goes on")
                self.folder.note("masks")
            for name, write in self._files():
                report.stage(f"{self.clip.name}: {name}", self.clip.frames)
                write(self.folder.path / name, record, report, stop)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise DiskFullError(
                f"{self.folder.path}: {error.strerror}. Missing: {self.missing()}. Free some space "
                "and run the same command again: it goes on from there"
            ) from error
        self._tell(record, report)

    def _files(
        self,
    ) -> Iterator[tuple[str, Callable[[Path, Record, Report, Callable[[], bool]], None]]]:
        """The files that are asked for and not there yet, and how each is written."""
        outputs, clip = self._outputs, self.clip

        def debug(path: Path, record: Record, report: Report, stop: Callable[[], bool]) -> None:
            def on_frame() -> None:
                report.frame()
                if stop():
                    raise StoppedError("stopped; the same command goes on")

            write_debug_video(path, record, clip, on_frame)

        files: list[tuple[str, object, Callable[..., None]]] = [
            ("boxes.json", outputs.boxes, lambda path, record, *_: write_boxes(path, record)),
            ("mot.txt", outputs.mot, lambda path, record, *_: write_mot(path, record)),
            ("rle.jsonl", outputs.rle, lambda path, record, *_: write_rle(path, record)),
            (
                "coco.json",
                outputs.coco,
                lambda path, record, *_: write_coco(
                    path, record, clip, polygons=outputs.coco == "polygons"
                ),
            ),
            (
                "youtube_vis.json",
                outputs.youtube_vis,
                lambda path, record, *_: write_youtube_vis(path, record, clip),
            ),
            ("debug.mp4", outputs.debug, debug),
        ]
        for name, asked, write in files:
            if asked and not (self.folder.path / name).exists():
                yield name, write

    def _tell(self, record: Record, report: Report) -> None:
        damaged = ""
        if record.damaged:
            named = ", ".join(map(str, record.damaged[:_NAMED_FRAMES]))
            more = ", …" if len(record.damaged) > _NAMED_FRAMES else ""
            damaged = f"; {len(record.damaged)} damaged frames were left out: {named}{more}"
        report.line(f"{self.folder.path}: {self.clip.frames} frames{damaged}")


def fingerprint(prompts: FramePrompts) -> str:
    """A hash of everything that the prompts say."""
    digest = hashlib.sha256()
    for frame, own in prompts.items():
        for each in own:
            mask = b"" if each.mask is None else each.mask.tobytes()
            said = (frame, each.object_id, each.points_xy, each.point_labels, each.box_xyxy)
            digest.update(repr(said).encode() + mask)
    return digest.hexdigest()[:16]
