"""``masklet evaluate``: load a model, track a suite, show and write the scores."""

from __future__ import annotations

import hashlib
import json
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tracker.errors import TrackerError
from tracker.evaluation import ablation, ablation_report, fitting, long_stream, plots, report
from tracker.evaluation.arguments import LOOP, PHOTOGRAPHS
from tracker.evaluation.clips import ClipFrame, EvaluationClip
from tracker.evaluation.comparison_video import WorstClips
from tracker.evaluation.identity import require_trackeval
from tracker.evaluation.overlay import OverlayWriter
from tracker.evaluation.real_time import MeasuredPace, Pace, SimulatedPace
from tracker.evaluation.runner import ClipScore, NothingToScoreError, evaluate_clip
from tracker.evaluation.suites import clips_of
from tracker.options import TrackerOptions
from tracker.types import MaskArray

if TYPE_CHECKING:
    from tracker.tracker import Tracker

EXIT_REFUSED = 2
LOOP_FRAMES = 20_000


def run(options: Namespace) -> int:
    """Run the command; returns the exit code."""
    console = Console()
    try:
        if options.suite == LOOP:
            _make_folders(options)
            _follow_loop(options, console)
            return 0
        options.no_identity |= options.suite == PHOTOGRAPHS
        if not options.no_identity:
            require_trackeval()
        if options.out is not None:
            plots.require_matplotlib()
        _make_folders(options)
        clips = clips_of(options)
        if options.ablate:
            _ablate(options, clips, console)
        else:
            _evaluate(options, clips, console)
    except (TrackerError, OSError, ValueError) as error:
        _say(console, str(error), "red")
        return EXIT_REFUSED
    return 0


def _make_folders(options: Namespace) -> None:
    """Create the output folders before hours of work (OSError)."""
    for folder in (options.out, options.overlay):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
    for file in (options.json, options.fit_calibration):
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)


def _follow_loop(options: Namespace, console: Console) -> None:
    chosen = {} if options.policy is None else {"memory_policy": options.policy}
    frame_count, first_frame = options.frames or LOOP_FRAMES, options.first_frame or 0
    most = options.max_objects
    with _progress(console, frame_count) as advance:
        found = long_stream.follow_loop(
            _tracker(options, chosen),
            frame_count,
            options.prompt,
            first_frame,
            # All of them are always visible.
            replace(long_stream.LOOPED, object_ids=long_stream.LOOPED.object_ids[:most]),
            scored=long_stream.SCORED_FRAMES,
            on_frame=lambda _: advance.step("loop"),
        )
    title = f"{options.checkpoint} on a loop, frames counted from {first_frame}"
    console.print(long_stream.table(found, title))
    if options.json:
        _write(options.json, long_stream.as_json(found), console)


def _evaluate(options: Namespace, clips: Sequence[EvaluationClip], console: Console) -> None:
    from tracker.evaluation.pictures import PicturesOfTracker  # here, as torch

    chosen = {} if options.policy is None else {"memory_policy": options.policy}
    tracker = _tracker(options, chosen)
    still = any(clip.still for clip in clips)
    pictures = PicturesOfTracker(tracker, apart=options.apart) if still else None
    overlay = OverlayWriter(options.overlay) if options.overlay else None
    filmed = options.out is not None and options.videos > 0
    worst = WorstClips(options.out / "videos", options.videos) if filmed else None
    pace = _pace(options)
    scores: list[ClipScore] = []
    left_out: list[NothingToScoreError] = []
    with _progress(console, sum(clip.frame_count for clip in clips)) as advance:

        def on_frame(
            clip: EvaluationClip, index: int, frame: ClipFrame, masks: dict[int, MaskArray]
        ) -> None:
            advance.frame(clip)
            if overlay is not None:
                overlay(clip, index, frame, masks)
            if worst is not None:
                worst(clip, index, frame, masks)

        for clip in clips:
            try:
                engine = pictures if clip.still and pictures else tracker
                scores.append(evaluate_clip(engine, clip, options.prompt, on_frame, pace))
            except NothingToScoreError as error:
                left_out.append(error)
                _say(console, f"left out: {error}", "yellow")
                if worst is not None:
                    worst.left_out()
            else:
                if worst is not None:
                    worst.finished(scores[-1])
    if not scores:
        raise left_out[-1]
    identity = not options.no_identity
    prompt = _prompt_given(options, clips)
    title = f"{options.checkpoint} on {options.suite}, first-frame {prompt}"
    for table in report.tables(scores, title, identity=identity):
        console.print(table)
    console.print(report.EXPLANATION, style="dim", highlight=False)
    content = report.as_json(
        scores, options.suite, options.checkpoint, prompt, identity=identity
    ) | {"left_out": [str(each) for each in left_out]}
    if options.json:
        _write(options.json, content, console)
    if options.out is not None:
        _write(options.out / "results.json", content, console)
        films = [] if worst is None else worst.films
        for path in [*plots.write_plots(scores, options.out, title), *films]:
            _say(console, f"written: {path}")
    if options.fit_calibration:
        fitted = fitting.fit(scores)
        fitting.write(options.fit_calibration, fitted, tracker.identity.fingerprint, title)
        _say(
            console,
            f"written: {options.fit_calibration}: expected error of the predicted IoU of "
            f"{fitted.masks} masks {fitted.error_before:.3f}, calibrated {fitted.error_after:.3f}",
        )


def _ablate(options: Namespace, clips: Sequence[EvaluationClip], console: Console) -> None:
    rows = ablation.ablation_rows(TrackerOptions().robust)
    if options.rows:
        by_name = {row.name: row for row in rows}
        unknown = [name for name in options.rows.split(",") if name not in by_name]
        if unknown:
            raise ValueError(f"no row {unknown[0]!r}; there are: {', '.join(by_name)}")
        rows = [by_name[name] for name in options.rows.split(",")]
    total = len(rows) * sum(clip.frame_count for clip in clips)
    with _progress(console, total) as advance:

        def on_row(row: str, clip: EvaluationClip, read: bool) -> None:
            if read:
                advance.skip(clip.frame_count)
            state = "read from its file" if read else "done"
            _say(console, f"{row}: {clip.category} {clip.name} {state}", "dim")

        results = ablation.run_ablation(
            rows,
            clips,
            lambda chosen: _tracker(options, chosen),
            options.out,
            options.prompt,
            f"{options.checkpoint} {_fingerprint(options.checkpoint)}",
            identity=not options.no_identity,
            on_row=on_row,
            on_frame=lambda clip, *_: advance.frame(clip),
        )
    lines = ablation_report.headlines(results)
    prompt = _prompt_given(options, clips)
    title = f"{options.checkpoint} on {options.suite}, first-frame {prompt}: ablation"
    for table in ablation_report.tables(lines, title):
        console.print(table)
    console.print(ablation_report.EXPLANATION, style="dim", highlight=False)
    _write(options.out / "ablation.json", ablation_report.as_json(lines), console)
    plots.write_ablation_plot(lines, options.out / "ablation.png", title)
    _say(console, f"written: {options.out / 'ablation.png'}")


def _prompt_given(options: Namespace, clips: Sequence[EvaluationClip]) -> str:
    """The kinds of the prompts used: "mask" means a box where only that is known, and of a
    photograph a click."""
    if options.prompt != "mask":
        return str(options.prompt)
    kinds = {
        "point" if clip.still else "box" if clip.annotation == "boxes" else "mask" for clip in clips
    }
    return " or ".join(sorted(kinds, key=("mask", "box", "point").index))


def _tracker(options: Namespace, chosen: dict[str, Any]) -> Tracker:
    import torch  # here, so that --help and usage errors are fast

    from tracker.tracker import Tracker

    if options.threads:
        torch.set_num_threads(options.threads)
    return Tracker.from_checkpoint(
        options.checkpoint,
        device=options.device,
        options=TrackerOptions(max_objects=options.max_objects, **chosen),
    )


def _fingerprint(checkpoint: str) -> str:
    """A hash of the checkpoint's file, since a name may get other weights."""
    from tracker.weights.checkpoint import find_checkpoint  # imports torch

    return hashlib.sha256(find_checkpoint(checkpoint).read_bytes()).hexdigest()[:12]


def _pace(options: Namespace) -> Pace | None:
    if options.real_time_fps_model:
        return SimulatedPace(options.real_time_fps_model, options.camera_fps)
    return MeasuredPace(options.camera_fps) if options.real_time else None


class _Advance:
    """A progress bar."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task("", total=total)

    def frame(self, clip: EvaluationClip) -> None:
        self.step(f"{clip.category} {clip.name}")

    def step(self, description: str) -> None:
        self._progress.update(self._task, advance=1, description=description)

    def skip(self, frames: int) -> None:
        self._progress.update(self._task, advance=frames)


@contextmanager
def _progress(console: Console, total: int) -> Iterator[_Advance]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        yield _Advance(progress, total)


def _write(path: Path, content: object, console: Console) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    _say(console, f"written: {path}")


def _say(console: Console, text: str, style: str | None = None) -> None:
    """Print one line without markup: brackets, as in masklet[evaluation], stay."""
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
