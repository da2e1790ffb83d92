"""Runs a job: several clips through one tracker, results into a folder for each.

Everything is checked before the first frame is tracked. A job that is stopped keeps what is done;
the same job goes on there, with the results that it would have had without the stop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path

from streamer.config.state_folder import cache_folder
from streamer.errors import ConfigError
from streamer.recorded.clip import Clip, result_name
from streamer.recorded.clip_work import FULL, ClipWork, DiskFullError, Report, StoppedError
from streamer.recorded.clips import find_clips, open_clip
from streamer.recorded.job_options import JobOptions
from streamer.recorded.outputs.preview import picture_of, write_previews
from streamer.recorded.passes import Direction
from streamer.recorded.prompts import (
    LARGEST_PALETTE_ID,
    FramePrompts,
    PromptEntry,
    checked_for,
    read_prompts,
)
from streamer.recorded.tracking import track_together
from streamer.recorded.words import Find, prompts_by_detector
from tracker import EngineOptions, Tracker, TrackerOptions
from tracker.weights.checkpoint import resolve_device


@dataclass(frozen=True, slots=True)
class ClipJob:
    """A clip and the prompts that were read for it."""

    path: Path
    entries: Sequence[PromptEntry]

    @property
    def names(self) -> dict[int, str]:
        """The class of each object that a detector found."""
        return {each.prompt.object_id: each.name for each in self.entries if each.name is not None}


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
            ClipWork(clip, own, job.names, tracker, options, stack)
            for job, clip, own in zip(jobs, clips, prompts, strict=True)
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
    work: Sequence[ClipWork],
    tracker: Tracker,
    options: JobOptions,
    report: Report,
    stop: Callable[[], bool],
) -> None:
    if options.outputs.preview:
        for each in work:
            for path in write_previews(
                each.folder.path, each.clip, each.prompts, each.names, tracker
            ):
                report.line(str(path))
    if not options.outputs.tracks:
        return
    tracker.warm_up()
    runs = {id(each.run): each for each in work}
    report.begin(sum(each.run.frames for each in work), sum(each.run.frames_done for each in work))
    unsaved: dict[int, ClipWork] = {}
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
            if error.errno not in FULL:
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


def _disk_full(work: Sequence[ClipWork], options: JobOptions, error: OSError) -> DiskFullError:
    missing = [text for each in work if (text := each.missing())]
    return DiskFullError(
        f"{options.out}: {error.strerror}. Missing: {'; '.join(missing)}. Free some space and "
        "run the same command again: it goes on from there"
    )
