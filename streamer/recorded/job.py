"""Runs a job: several clips through one tracker, results into a folder for each.

Everything is checked before the first frame is tracked. A job that is stopped keeps what is done;
the same job goes on there, with the results that it would have had without the stop.
"""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from streamer.config.state_folder import cache_folder
from streamer.errors import ConfigError, MaskletError
from streamer.recorded.clip import Clip, result_name
from streamer.recorded.clips import find_clips, open_clip
from streamer.recorded.folder import ResultFolder
from streamer.recorded.outputs.boxes import write_boxes, write_mot
from streamer.recorded.outputs.coco import write_coco, write_rle, write_youtube_vis
from streamer.recorded.outputs.confidences import ConfidenceForm, Confidences
from streamer.recorded.outputs.debug import write_debug_video
from streamer.recorded.outputs.masks import MaskPictures
from streamer.recorded.outputs.preview import picture_of, write_previews
from streamer.recorded.passes import Direction
from streamer.recorded.prompts import (
    LARGEST_PALETTE_ID,
    FramePrompts,
    PromptEntry,
    checked_for,
    read_prompts,
)
from streamer.recorded.record import Record
from streamer.recorded.tracking import ClipRun, FrameTracks, track_together
from streamer.recorded.words import Find, prompts_by_detector
from tracker import EngineOptions, Tracker, TrackerOptions
from tracker.weights.checkpoint import resolve_device

# How often a run notes where it stands: the work that a crash costs.
_SAVE_EVERY_S = 20.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NAMED_FRAMES = 10


@dataclass(frozen=True, slots=True)
class Outputs:
    """What is written for each clip; ``preview`` alone tracks nothing."""

    masks: bool = False
    confidences: ConfidenceForm | None = None
    boxes: bool = False
    mot: bool = False
    rle: bool = False
    coco: Literal["rle", "polygons"] | None = None
    youtube_vis: bool = False
    debug: bool = False
    preview: bool = False

    @property
    def tracks(self) -> bool:
        """Whether anything needs the whole clip."""
        return any(value for key, value in asdict(self).items() if key != "preview")


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How clips are tracked and what is written; ``together`` clips are in one batch."""

    out: Path
    outputs: Outputs = field(default_factory=lambda: Outputs(masks=True, boxes=True))
    direction: Direction = Direction.FORWARD
    model: str = "nano"
    device: str = "auto"
    together: int = 1
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class ClipJob:
    """A clip and the prompts that were read for it."""

    path: Path
    entries: Sequence[PromptEntry]


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


def read_jobs(paths: Sequence[Path], prompts: Path | Find) -> list[ClipJob]:
    """The clips that are named, with the prompts of a file, or where a detector finds objects.

    Raises ``ConfigError``, ``PictureError``, ``SourceError``.
    """
    clips = find_clips(paths)
    if not isinstance(prompts, Path):
        return [ClipJob(path, prompts_by_detector(open_clip(path), prompts)) for path in clips]
    names = [result_name(path) for path in clips]
    entries = read_prompts(prompts, names)
    return [ClipJob(path, entries[name]) for path, name in zip(clips, names, strict=True)]


def run_jobs(
    jobs: Sequence[ClipJob], options: JobOptions, report: Report, stop: Callable[[], bool]
) -> None:
    """Check, track and write all clips. ``stop`` is asked after every frame.

    Raises ``ConfigError`` for a prompt that cannot be and ``SourceError`` for a file that cannot be
    read, both before anything runs; later ``StoppedError`` and ``DiskFullError``.
    """
    clips = [open_clip(job.path) for job in jobs]
    most = max(len({each.prompt.object_id for each in job.entries}) for job in jobs)
    cache = cache_folder()
    try:
        device = resolve_device(options.device)
    except ValueError as error:
        raise ConfigError(f"--device: {error}") from error
    tracker = Tracker.from_checkpoint(
        options.model,
        device=device,
        options=TrackerOptions(
            max_objects=most * min(options.together, len(jobs)),
            return_logits=options.outputs.confidences is not None,
            # A later run must take the paths that this one measured, to have the same results.
            engine=EngineOptions(path_cache=None if cache is None else str(cache)),
        ),
    )
    prompts = [_checked(job, clip, tracker, options) for job, clip in zip(jobs, clips, strict=True)]
    with ExitStack() as stack:
        work = [
            _ClipWork(clip, own, tracker, options, stack)
            for clip, own in zip(clips, prompts, strict=True)
        ]
        _tracked(work, tracker, options, report, stop)
        for each in work:
            each.finish(report, stop)


def _checked(job: ClipJob, clip: Clip, tracker: Tracker, options: JobOptions) -> FramePrompts:
    prompts = checked_for(
        job.entries,
        clip,
        tracker.config.image_size,
        backward=options.direction is Direction.BACKWARD,
        largest_id=LARGEST_PALETTE_ID if options.outputs.masks else None,
    )
    for frame in prompts:
        picture_of(clip, frame)
    return prompts


def _tracked(
    work: Sequence[_ClipWork],
    tracker: Tracker,
    options: JobOptions,
    report: Report,
    stop: Callable[[], bool],
) -> None:
    if options.outputs.preview:
        for each in work:
            for path in write_previews(each.folder.path, each.clip, each.prompts, tracker):
                report.line(str(path))
    if not options.outputs.tracks:
        return
    tracker.warm_up()
    runs = {id(each.run): each for each in work}
    report.begin(sum(each.run.frames for each in work), sum(each.run.frames_done for each in work))
    unsaved: dict[int, _ClipWork] = {}
    # Closed at the end only: what is unsaved needs the memories of its objects.
    with closing(track_together([each.run for each in work], tracker, options.together)) as results:
        try:
            for run, frame in results:
                own = unsaved[id(run)] = runs[id(run)]
                own.add(frame)
                if run.frames_done == run.frames:
                    own.save()
                    del unsaved[id(run)]
                report.frame()
                # At the end of a batch: clips in it that were not written yet are ahead.
                if stop() and not any(each.run.is_ahead for each in work):
                    raise StoppedError
        except OSError as error:
            # A clip that is ahead goes on from where it was saved before.
            for own in unsaved.values():
                if not own.run.is_ahead:
                    with suppress(OSError):
                        own.save()
            if error.errno not in _FULL:
                raise
            raise _disk_full(work, options, error) from error
        except StoppedError:
            for own in unsaved.values():
                own.save()
            done = sum(each.run.frames_done for each in work)
            frames = sum(each.run.frames for each in work)
            raise StoppedError(
                f"stopped after {done} of {frames} frames, which are kept in {options.out}; the "
                "same command goes on from there"
            ) from None


def _disk_full(work: Sequence[_ClipWork], options: JobOptions, error: OSError) -> DiskFullError:
    missing = [text for each in work if (text := each.missing())]
    return DiskFullError(
        f"{options.out}: {error.strerror}. Missing: {'; '.join(missing)}. Free some space and "
        "run the same command again: it goes on from there"
    )


class _ClipWork:
    """One clip of a job: its folder, its way through the tracker, and what is written."""

    def __init__(
        self,
        clip: Clip,
        prompts: FramePrompts,
        tracker: Tracker,
        options: JobOptions,
        stack: ExitStack,
    ) -> None:
        self.clip = clip
        self.prompts = prompts
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
        record = self.folder.record(self.clip.frames, self.clip.height, self.clip.width)
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
            if error.errno not in _FULL:
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
