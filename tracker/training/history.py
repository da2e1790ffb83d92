"""The log of a run: one record every few steps, in memory, in a file, and as a plot."""

from __future__ import annotations

import itertools
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

matplotlib.use("Agg")


@dataclass(frozen=True, slots=True)
class Record:
    """Means over the steps since the last record. IoUs are -1 if not measured."""

    step: int
    phase: str
    loss: float
    prompted_iou: float
    tracked_iou: float
    last_frame_iou: float
    occlusion_loss: float
    learning_rate: float
    step_s: float
    data_s: float
    gradient_norm: float
    elapsed_s: float


def append(path: Path, record: Record) -> None:
    """Add one line of JSON."""
    with path.open("a") as file:
        file.write(json.dumps(asdict(record)) + "\n")


def read(path: Path, before_step: int) -> list[Record]:
    """The records up to a step; later lines belong to steps that were lost."""
    if not path.exists():
        return []
    records = [Record(**json.loads(line)) for line in path.read_text().splitlines() if line]
    return [record for record in records if record.step <= before_step]


def rewrite(path: Path, records: list[Record]) -> None:
    """Replace the file by these records."""
    path.write_text("".join(json.dumps(asdict(record)) + "\n" for record in records))


def draw(records: list[Record], path: Path) -> None:
    """Loss and IoU curves as a PNG; phases are separated by vertical lines."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    losses, ious = figure.subplots(2, 1, sharex=True)
    steps = [record.step for record in records]
    losses.plot(steps, [record.loss for record in records], label="loss")
    losses.plot(steps, [record.occlusion_loss for record in records], label="occlusion")
    for name in ("prompted_iou", "tracked_iou", "last_frame_iou"):
        shown = [(r.step, getattr(r, name)) for r in records if getattr(r, name) >= 0]
        if shown:
            ious.plot(*zip(*shown, strict=True), label=name.replace("_", " "))
    for before, after in itertools.pairwise(records):
        if before.phase != after.phase:
            for axes in (losses, ious):
                axes.axvline(after.step, color="grey", linewidth=0.6)
    losses.set_yscale("log")
    losses.set_ylabel("loss")
    ious.set_ylabel("IoU")
    ious.set_ylim(0, 1)
    ious.set_xlabel("step")
    for axes in (losses, ious):
        axes.grid(alpha=0.3)
        axes.legend(loc="best")
    figure.savefig(path, dpi=110)
