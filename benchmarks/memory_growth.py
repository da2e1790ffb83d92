"""What a process keeps while it tracks: resident memory over many frames, one process each."""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
from pathlib import Path

import matplotlib as mpl
import psutil

from benchmarks.cells import Cell
from benchmarks.implementations import IMPLEMENTATIONS
from benchmarks.machine import describe_machine
from tests.tracker.agreement.scripts import picture, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tracker import PRESETS

mpl.use("Agg")
from matplotlib import pyplot as plt

MODEL, IMAGE_SIZE = "sam2.1_hiera_tiny", 256
# The first frames fill the bank and the allocator's pools; growth is what comes after.
SETTLED_AFTER_FRAMES = 50
MEBIBYTE = 1 << 20


def measure_memory(implementation: str, frames: int) -> Cell:
    """Run ``frames`` frames in a process of its own; RSS in MiB after every frame."""
    command = [sys.executable, "-m", "benchmarks.memory_growth", implementation, str(frames)]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    cell: Cell = json.loads(finished.stdout)
    return cell


def track(implementation: str, frames: int) -> Cell:
    """The measurement itself."""
    config = PRESETS[MODEL].replaced(image_size=IMAGE_SIZE)
    weights = amplified_weights(shapes_of(config), seed=0)
    tracked = IMPLEMENTATIONS[implementation](config, weights, 1)
    pictures = [picture(seed) for seed in range(4)]
    process = psutil.Process()
    resident_mib, seconds = [], []
    for index in range(frames):
        boxes = {1: (60.0, 60.0, 180.0, 200.0)} if index == 0 else None
        begun = time.perf_counter()
        tracked.step(pictures[index % len(pictures)], boxes)
        seconds.append(time.perf_counter() - begun)
        gc.collect()
        resident_mib.append(process.memory_info().rss / MEBIBYTE)
    # A short run has settled when half of it is over.
    settled = min(SETTLED_AFTER_FRAMES, frames // 2)
    return {
        "implementation": implementation,
        "model": MODEL,
        "image_size": IMAGE_SIZE,
        "frames": frames,
        "resident_mib": resident_mib,
        "seconds": seconds,
        "growth_mib_a_frame": (resident_mib[-1] - resident_mib[settled]) / (frames - 1 - settled),
        "machine": describe_machine(),
    }


def plot(cells: list[Cell], path: Path) -> None:
    """Both curves, from where each began."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for cell in cells:
        axes.plot(cell["resident_mib"], label=cell["implementation"])
    axes.set_xlabel("frame")
    axes.set_ylabel("resident memory (MiB)")
    axes.set_title(f"{MODEL} at {IMAGE_SIZE}², one object")
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def report(cells: list[Cell]) -> str:
    """The table, as markdown."""
    lines = [
        "| | after 50 frames | at the end | a frame | an hour at 30 fps |",
        "|---|---|---|---|---|",
    ]
    for cell in cells:
        resident, growth = cell["resident_mib"], cell["growth_mib_a_frame"]
        settled = min(SETTLED_AFTER_FRAMES, len(resident) - 1)
        lines.append(
            f"| {cell['implementation']} | {resident[settled]:.0f} MiB | {resident[-1]:.0f} MiB "
            f"| {growth:+.3f} MiB | {growth * 30 * 3600 / 1024:+.1f} GiB |"
        )
    return (
        "\n".join(lines)
        + f"\n\n{MODEL} at {IMAGE_SIZE}², one object, {cells[0]['frames']} frames, float32; "
        + str(cells[0]["machine"])
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("implementation", choices=list(IMPLEMENTATIONS))
    parser.add_argument("frames", type=int)
    options = parser.parse_args()
    sys.stdout.write(json.dumps(track(options.implementation, options.frames)) + "\n")
