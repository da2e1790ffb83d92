"""Resident memory over many frames, ours against `transformers`, one process each."""

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

from benchmarks.implementations import IMPLEMENTATIONS
from benchmarks.machine import describe_machine
from benchmarks.results import Result
from tests.tracker.agreement.scripts import picture, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tracker import PRESETS

mpl.use("Agg")
from matplotlib import pyplot as plt

MODEL, IMAGE_SIZE = "sam2.1_hiera_tiny", 256
# The first frames fill the memory bank and the allocator's pools; growth counts from here.
SETTLED_AFTER_FRAMES = 50
MEBIBYTE = 1 << 20


def measure_memory(implementation: str, frames: int) -> Result:
    """Track ``frames`` frames in another process; RSS in MiB after every frame."""
    command = [sys.executable, "-m", "benchmarks.memory_growth", implementation, str(frames)]
    finished = subprocess.run(command, check=True, capture_output=True, text=True)
    result: Result = json.loads(finished.stdout)
    return result


def track(implementation: str, frames: int) -> Result:
    """The measurement, in this process."""
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
    # A short run counts from its middle.
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


def plot(results: list[Result], path: Path) -> None:
    """Both curves."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for result in results:
        axes.plot(result["resident_mib"], label=result["implementation"])
    axes.set_xlabel("frame")
    axes.set_ylabel("resident memory (MiB)")
    axes.set_title(f"{MODEL} at {IMAGE_SIZE}², one object")
    axes.set_ylim(bottom=0)
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def report(results: list[Result]) -> str:
    """The table, as markdown."""
    lines = [
        "| | after 50 frames | at the end | per frame | per hour at 30 Hz |",
        "|---|---|---|---|---|",
    ]
    for result in results:
        resident, growth = result["resident_mib"], result["growth_mib_a_frame"]
        settled = min(SETTLED_AFTER_FRAMES, len(resident) - 1)
        lines.append(
            f"| {result['implementation']} | {resident[settled]:.0f} MiB | {resident[-1]:.0f} MiB "
            f"| {growth:+.3f} MiB | {growth * 30 * 3600 / 1024:+.1f} GiB |"
        )
    return (
        "\n".join(lines)
        + f"\n\n{MODEL} at {IMAGE_SIZE}², one object, {results[0]['frames']} frames, float32; "
        + str(results[0]["machine"])
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("implementation", choices=list(IMPLEMENTATIONS))
    parser.add_argument("frames", type=int)
    options = parser.parse_args()
    sys.stdout.write(json.dumps(track(options.implementation, options.frames)) + "\n")
