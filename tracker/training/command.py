"""``python -m tracker.training``: open the data, start the processes, show progress."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor
from torch import distributed as dist
from torch.multiprocessing.spawn import spawn

from tracker.config import PRESETS, ModelConfig
from tracker.errors import TrackerError
from tracker.model import Sam2
from tracker.training.arguments import make_parser
from tracker.training.assets import load_assets
from tracker.training.data import ClipSource, ComposedClips
from tracker.training.folder_clips import FolderClips
from tracker.training.footage import label_folder
from tracker.training.history import Record
from tracker.training.labeller import Labeller
from tracker.training.loop import Run, Trainer, join_processes
from tracker.training.match_clips import MatchPool
from tracker.training.recipe import FINE_TUNE, NANO, Recipe, load_recipe
from tracker.training.teacher import Teacher
from tracker.weights.checkpoint import load_checkpoint, resolve_device

_MOST_WORKERS = 8


@dataclass(frozen=True, slots=True)
class _Job:
    """The arguments of a training process."""

    data: Path | None
    masks: Path | None
    finetune: str | None
    teacher: str | None
    teacher_size: int | None
    recipe: Recipe
    out: Path
    seed: int
    device: str
    processes: int
    match_scenes: int
    match_pool: Path
    minutes: float | None
    slice_minutes: float | None
    workers: int


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    options = make_parser().parse_args(arguments)
    console = Console(stderr=True)
    sources = {
        f"--{name}": getattr(options, name)
        for name in ("data", "masks", "footage")
        if getattr(options, name) is not None
    }
    if not sources:
        console.print(
            "give --data FOLDER (pictures), --masks FOLDER (frames with masks), or --footage "
            "FOLDER (pictures and video that a --teacher labels)"
        )
        return 2
    if len(sources) > 1:
        console.print(f"{' and '.join(sources)} exclude one another: give one of them")
        return 2
    if options.data is None and options.finetune is None:
        console.print(
            f"{next(iter(sources))} needs --finetune CHECKPOINT: the model to continue from"
        )
        return 2
    if options.footage is not None and options.teacher is None:
        console.print("--footage needs --teacher CHECKPOINT: the model that labels it")
        return 2
    if options.minutes is not None and options.processes > 1:
        console.print("--minutes counts the time of one process: leave --processes at 1")
        return 2
    try:
        recipe = load_recipe(options.config, NANO if options.finetune is None else FINE_TUNE)
        out: Path = options.out
        out.mkdir(parents=True, exist_ok=True)
        job = _Job(
            options.data,
            options.masks,
            options.finetune,
            options.teacher,
            options.teacher_size,
            recipe,
            out,
            options.seed,
            str(resolve_device(options.device)),
            options.processes,
            options.match_scenes,
            options.match_pool or out / "match-pool",
            options.minutes,
            options.slice_minutes,
            _workers(options.workers, options.processes),
        )
        if options.data is not None and options.match_scenes:
            _fill_pool(job, console)
        if options.footage is not None:
            # Its answers are in the labels: in training it would only cost time.
            job = replace(job, masks=_labelled(job, options.footage, console), teacher=None)
        meeting = out / "processes"
        meeting.unlink(missing_ok=True)
        if job.processes > 1:
            spawn(_train, (job, meeting), nprocs=job.processes)
        else:
            _train(0, job, meeting)
    except (TrackerError, OSError, ValueError) as error:
        console.print(str(error), markup=False)
        return 1
    return 0


def _labelled(job: _Job, footage: Path, console: Console) -> Path:
    """The folder of the teacher's labels, made now unless it is there."""
    assert job.teacher is not None, "checked with the arguments"
    device = torch.device(job.device)
    labeller = Labeller(load_checkpoint(job.teacher), device, job.teacher_size)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("labelling")
        clips = label_folder(
            footage,
            job.out / "labelled",
            labeller,
            lambda done, files, name: progress.update(
                task, completed=done, total=files, description=f"labelling {name}"
            ),
        )
    console.print(f"{clips} labelled clips in {job.out / 'labelled'}", markup=False)
    return job.out / "labelled"


def _workers(asked: int | None, processes: int) -> int:
    """Processes that make clips, of each training process: by default one for every two cores."""
    if asked is not None:
        return asked
    return min(_MOST_WORKERS, _cores() // 2 // processes)


def _cores() -> int:
    """The processor's cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _fill_pool(job: _Job, console: Console) -> None:
    columns = (TextColumn("rendering scenes"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=job.match_scenes)
        MatchPool.open(
            job.match_pool,
            job.match_scenes,
            job.seed,
            lambda done: progress.update(task, completed=done),
            _cores(),
        )


def _train(rank: int, job: _Job, meeting: Path) -> None:
    """One process of a run."""
    torch.set_num_threads(max(1, job.recipe.threads // job.processes))
    device = torch.device(job.device)
    if device.type == "cuda" and job.processes > 1:
        device = torch.device("cuda", rank)
    run = Run(
        job.out,
        job.seed,
        device,
        rank,
        job.processes,
        job.minutes,
        job.slice_minutes,
        job.workers,
    )
    join_processes(run, meeting)
    config, weights = _start(job)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True, quiet=not run.leads)
    with Progress(*columns, console=console) as progress:
        in_seconds = job.minutes is not None
        total = 60 * (job.minutes or 0) if in_seconds else job.recipe.steps
        task = progress.add_task("training", total=total)

        def report(record: Record) -> None:
            progress.update(
                task,
                description=f"{record.phase} loss {record.loss:.3f} "
                f"prompted {record.prompted_iou:.2f} tracked {record.tracked_iou:.2f}",
            )

        trainer = Trainer(
            config,
            job.recipe,
            _source(job, config, run.clips_device),
            run,
            weights,
            _teacher(job, device),
            report,
            lambda step: progress.update(
                task, completed=int(trainer.elapsed_s) if in_seconds else step
            ),
        )
        trainer.resume()
        trainer.train()
    if dist.is_initialized():
        dist.destroy_process_group()
    if run.leads:
        print(  # noqa: T201
            f"{trainer.step} steps in {trainer.elapsed_s / 60:.1f} min: "
            f"{job.out / config.name}.safetensors",
            file=sys.stderr,
        )


def _start(job: _Job) -> tuple[ModelConfig, dict[str, Tensor] | None]:
    if job.finetune is None:
        return PRESETS[job.recipe.preset], None
    model = load_checkpoint(job.finetune)
    return model.config, model.state_dict()


def _teacher(job: _Job, device: torch.device) -> Teacher | None:
    if job.teacher is None:
        return None
    model = load_checkpoint(job.teacher)
    if job.teacher_size is not None:
        resized = Sam2(model.config.replaced(image_size=job.teacher_size))
        resized.load_state_dict(model.state_dict())
        model = resized
    return Teacher(model.to(device), job.recipe.losses)


def _source(job: _Job, config: ModelConfig, device: torch.device) -> ClipSource:
    if job.masks is not None:
        return FolderClips(job.masks, device)
    pool = None
    if job.match_scenes:
        pool = MatchPool.open(job.match_pool, job.match_scenes, job.seed, lambda _: None)
    return ComposedClips(load_assets(job.data).to(device), pool, config.image_size)
