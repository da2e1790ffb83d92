"""Runs ``masklet segment``: progress on the terminal, Ctrl-C, exit codes."""

from __future__ import annotations

import signal
import sys
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from streamer.cli import exit_codes
from streamer.cli.lines import write_line
from streamer.cli.startup import require_temporary_folder
from streamer.cli.terminal import Terminal
from streamer.cli.text_arguments import words_finder
from streamer.recorded.clip_work import StoppedError
from streamer.recorded.job import read_jobs, run_jobs
from streamer.recorded.job_options import JobOptions, Outputs
from streamer.recorded.passes import Direction


def run(options: Namespace) -> int:
    """Read the prompts, and run the job here or on a Ray cluster."""
    require_temporary_folder()
    jobs = read_jobs(options.clips, options.prompts or words_finder(options))
    settings = JobOptions(
        out=options.out,
        outputs=_outputs(options),
        direction=Direction(options.direction),
        model=options.model,
        device=options.device,
        together=options.together,
        overwrite=options.overwrite,
    )
    with _stops() as stops, _TerminalReport() as report:
        try:
            if options.ray:
                from streamer.recorded.ray_tasks import run_on_ray

                run_on_ray(jobs, settings, report, lambda: bool(stops))
            else:
                run_jobs(jobs, settings, report, lambda: bool(stops))
        except StoppedError as stopped:
            report.line(str(stopped))
            return exit_codes.INTERRUPTED
    return exit_codes.DONE


def _outputs(options: Namespace) -> Outputs:
    outputs = Outputs(
        masks=options.masks,
        confidences=options.confidences,
        boxes=options.boxes,
        mot=options.mot,
        rle=options.rle,
        coco=options.coco,
        youtube_vis=options.youtube_vis,
        debug=options.debug,
        preview=options.preview,
    )
    return outputs if outputs != Outputs() else Outputs(masks=True, boxes=True)


@contextmanager
def _stops() -> Iterator[list[int]]:
    """The signals that came: the first asks to stop after this frame, the second ends at once."""
    came: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    before = {each: signal.signal(each, note) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


class _RateColumn(ProgressColumn):
    """Frames a second, over the last seconds."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f} fps")


class _TerminalReport:
    """A progress bar on standard error where it is a terminal; lines on standard output."""

    def __init__(self) -> None:
        console = Terminal(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _RateColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.can_redraw,
            transient=True,
        )
        self._task = self._progress.add_task("reading", total=None)

    def __enter__(self) -> _TerminalReport:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, frames: int, done: int) -> None:
        """A bar over all clips."""
        self._progress.reset(self._task, total=frames, completed=done, description="tracking")

    def frame(self) -> None:
        """One step of the bar."""
        self._progress.advance(self._task)

    def stage(self, text: str, frames: int) -> None:
        """The bar begins again."""
        self._progress.reset(self._task, total=frames, description=f"writing {text}")

    def line(self, text: str) -> None:
        """A line above the bar."""
        self._progress.stop()
        write_line(text)
        sys.stdout.flush()
        self._progress.start()
