"""Hands the clips of a job to a Ray cluster: a task for each clip.

Every machine of the cluster sees the clips and the folder of the results under the same paths. A
task whose machine is lost is begun again by Ray, and goes on from the progress in its folder.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

from streamer.errors import ConfigError, MaskletError
from streamer.recorded.clip_work import Report, StoppedError
from streamer.recorded.clips import open_clip
from streamer.recorded.job import ClipJob, run_jobs
from streamer.recorded.job_options import JobOptions
from streamer.recorded.passes import Direction
from streamer.recorded.prompts import checked_for
from tracker import PRESETS
from tracker.errors import TrackerError

# How soon a stop is noticed, and how long clips in work have to end then.
_POLL_S = 0.5


class _Lines:
    """Collects the lines of a task, which Ray returns."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def begin(self, frames: int, done: int) -> None:
        """Not shown: the driver counts clips."""

    def frame(self) -> None:
        """Not shown."""

    def stage(self, text: str, frames: int) -> None:
        """Not shown."""

    def line(self, text: str) -> None:
        """Kept: a few for each clip."""
        self.lines.append(text)


def run_on_ray(
    jobs: Sequence[ClipJob], options: JobOptions, report: Report, stop: Callable[[], bool]
) -> None:
    """Like ``run_jobs``; the progress counts clips. Results are the same, to rounding.

    The cluster is that of ``RAY_ADDRESS``; without one, this machine. Raises ``ConfigError``
    without Ray; what fails in a task is raised when the others have ended.
    """
    try:
        ray: Any = import_module("ray")
    except ModuleNotFoundError:
        raise ConfigError("--ray needs Ray: pip install 'masklet[ray]'") from None
    # Here too, so that nothing runs if any prompt is wrong.
    model = PRESETS.get(options.model)
    for job in jobs:
        checked_for(
            job.entries,
            open_clip(job.path),
            1024 if model is None else model.image_size,
            backward=options.direction is Direction.BACKWARD,
        )
    ray.init(
        # Not None: Ray would then wait for the cluster that was here last, also if that was killed.
        address=os.environ.get("RAY_ADDRESS", "local"),
        log_to_driver=False,
        include_dashboard=False,
        logging_level=logging.ERROR,
    )
    try:
        gpus = 0 if options.device == "cpu" else min(1, ray.cluster_resources().get("GPU", 0))
        task = ray.remote(num_cpus=1, num_gpus=gpus)(_run_one)
        here = replace(options, out=options.out.resolve())
        waiting = [task.remote(replace(job, path=job.path.resolve()), here) for job in jobs]
        _wait(ray, waiting, report, stop)
    finally:
        ray.shutdown()


def _run_one(job: ClipJob, options: JobOptions) -> list[str] | MaskletError:
    """A task. An error of ours is returned, since Ray would wrap it into its own."""
    lines = _Lines()
    try:
        run_jobs([job], options, lines, lambda: False)
    except (MaskletError, TrackerError) as error:
        return MaskletError(f"{job.path}: {error}")
    return lines.lines


def _wait(ray: Any, waiting: list[Any], report: Report, stop: Callable[[], bool]) -> None:
    report.begin(len(waiting), 0)
    failures: list[str] = []
    while waiting:
        ended, waiting = ray.wait(waiting, timeout=_POLL_S)
        for each in ended:
            result = ray.get(each)
            if isinstance(result, MaskletError):
                failures.append(str(result))
            else:
                for line in result:
                    report.line(line)
            report.frame()
        if stop() and waiting:
            for each in waiting:
                ray.cancel(each)
            raise StoppedError(
                f"stopped with {len(waiting)} clips not done; the same command goes on"
            )
    if failures:
        raise MaskletError("\n".join(failures))
