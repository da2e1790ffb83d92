"""One step of our tracker against other implementations, cell by cell.

A cell is a model, an image size, a number of objects and of streams. It runs in its own process,
where the implementations alternate round by round, so that other load on the machine affects all
alike. The memory bank is full, and one warm-up round is discarded. Peak memory is measured in one
process per implementation.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import psutil
import torch

from benchmarks.implementations import (
    IMPLEMENTATIONS,
    OURS,
    Box,
    ImageArray,
    Implementation,
    Setting,
)
from benchmarks.machine import describe_machine
from benchmarks.results import Result
from tests.tracker.agreement.scripts import picture, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tracker import PRESETS, ModelConfig

HEIGHT, WIDTH = 720, 1280
MEBIBYTE = 1 << 20
SIZES = ("tiny", "small", "base_plus", "large")
PRESET_OF = {size: f"sam2.1_hiera_{size}" for size in SIZES} | {
    name: name for name in ("edgetam", "efficienttam_ti", "efficienttam_s")
}


@dataclass(frozen=True, slots=True)
class EngineCell:
    """One combination to measure; ``objects`` is the number in each stream."""

    size: str
    image_size: int
    objects: int
    streams: int

    @property
    def name(self) -> str:
        """Such as tiny-1024-4-1: the argument of ``--cells`` and part of the file name."""
        return f"{self.size}-{self.image_size}-{self.objects}-{self.streams}"

    @classmethod
    def named(cls, name: str) -> EngineCell:
        """The inverse of ``name``. Raises ValueError."""
        size, *numbers = name.split("-")
        if size not in PRESET_OF or len(numbers) != 3:
            raise ValueError(f"expected a cell such as tiny-1024-4-1, got {name}")
        return cls(size, *map(int, numbers))

    def config(self) -> ModelConfig:
        """The network's configuration."""
        return PRESETS[PRESET_OF[self.size]].replaced(image_size=self.image_size)


USUAL = (EngineCell("tiny", 1024, 1, 1), EngineCell("tiny", 1024, 3, 1))
FULL = tuple(
    EngineCell(size, image_size, objects, streams)
    for size in SIZES
    for image_size in (1024, 512)
    for objects in (1, 4, 16, 64)
    for streams in (1, 4, 16, 32)
    if objects * streams <= 64
)


def in_own_process(mode: str, cell: EngineCell, names: list[str], options: list[str]) -> Result:
    """Run ``mode`` (time, memory or profile) of one cell; its last output line is the result.

    Raises RuntimeError with the end of its standard error.
    """
    module = "engine_profile" if mode == "profile" else "engine"
    command = [sys.executable, "-m", f"benchmarks.{module}", mode, cell.name, *names]
    command += options
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        tail = "\n".join(finished.stderr.splitlines()[-5:])
        raise RuntimeError(f"{mode} of {cell.name} by {', '.join(names)} failed:\n{tail}")
    result: Result = json.loads(finished.stdout.splitlines()[-1])
    return result


def measure_time(
    cell: EngineCell,
    config: ModelConfig,
    names: list[str],
    setting: Setting,
    rounds: int,
    budget_s: float = math.inf,
) -> Result:
    """Seconds of every round, by implementation, host to host and (on CUDA) device to device.

    No round starts that would end after ``budget_s``, except the first. Another implementation
    that is not ready (built, compiled, memory bank full) within ``budget_s`` is left out.
    """
    image = picture(1, HEIGHT, WIDTH)
    entries: dict[str, Implementation] = {}
    refused: dict[str, str] = {}
    for name in names:
        try:
            limit_s = math.inf if name in OURS else budget_s
            entries[name] = ready(name, cell, config, setting, image, limit_s)
        except Exception as error:  # the report says why it is missing
            if name in OURS:
                raise
            refused[name] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
    ways: dict[str, Callable[[str], None]] = {"host": lambda name: entries[name].step(image)}
    if setting.device != "cpu":
        prepared = {name: entry.prepare(image) for name, entry in entries.items()}
        ways["device"] = lambda name: entries[name].step_prepared(prepared[name])
    seconds: dict[str, dict[str, list[float]]] = {way: {n: [] for n in entries} for way in ways}
    order = list(entries)
    all_began = time.perf_counter()
    done, longest = 0, 0.0
    for number in range(rounds + 1):
        round_began = time.perf_counter()
        if number > 1 and round_began + longest > all_began + budget_s:
            break
        for way, step in ways.items():
            for name in order[:: 1 if number % 2 == 0 else -1]:
                _wait(setting)
                begun = time.perf_counter()
                step(name)
                _wait(setting)
                if number:  # the first round warms up
                    seconds[way][name].append(time.perf_counter() - begun)
        longest = max(longest, time.perf_counter() - round_began)
        done = number
    return {
        **asdict(cell),
        "setting": asdict(setting),
        "rounds": done,
        "seconds": seconds,
        "refused": refused,
        "machine": describe_machine(),
    }


def measure_memory(cell: EngineCell, config: ModelConfig, name: str, setting: Setting) -> Result:
    """Peak memory of the process (or of the CUDA device), and the share of its imports."""
    imported = psutil.Process().memory_info().rss
    image = picture(1, HEIGHT, WIDTH)
    entry = ready(name, cell, config, setting, image)
    entry.step(image)
    if setting.device == "cuda":
        peak, imported = torch.cuda.max_memory_allocated(), 0
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        **asdict(cell),
        "setting": asdict(setting),
        "implementation": name,
        "peak_mib": peak / MEBIBYTE,
        "imports_mib": imported / MEBIBYTE,
        "weights_mib": sum(shape.numel() for shape in shapes_of(config).values()) * 4 / MEBIBYTE,
    }


def ready(
    name: str,
    cell: EngineCell,
    config: ModelConfig,
    setting: Setting,
    image: ImageArray,
    limit_s: float = math.inf,
) -> Implementation:
    """An implementation with its objects started and its memory bank full.

    Raises TimeoutError between two steps once ``limit_s`` is over: a step that is interrupted
    leaves the process in no known state.
    """
    began_s = time.perf_counter()
    weights = amplified_weights(shapes_of(config), seed=0)
    entry: Implementation = IMPLEMENTATIONS[name](config, weights, cell.objects, setting)
    entry.step(image, _boxes(cell.objects))
    with entry.without_heavy_parts():
        for _ in range(max(config.recent_memories, config.recent_pointers)):
            if time.perf_counter() - began_s > limit_s:
                raise TimeoutError(f"not ready (built, compiled, bank filled) after {limit_s:g} s")
            entry.step(image)
    return entry


def _boxes(objects: int) -> dict[int, Box]:
    """Four in a row; further rows overlap."""
    return {
        place + 1: (40.0 + 150 * (place % 4), 60.0 + place // 4, 160.0 + 150 * (place % 4), 280.0)
        for place in range(objects)
    }


def _wait(setting: Setting) -> None:
    if setting.device == "cuda":
        torch.cuda.synchronize()


def summary(cell: Result) -> list[Result]:
    """One row per implementation: median and p99 in ms, host to host and device to device.

    ``ratios``: its time divided by that of each of ours, the median over the rounds.
    """
    rows = []
    host = cell["seconds"]["host"]
    device = cell["seconds"].get("device", {})
    for name in host:
        own = device.get(name)
        rows.append(
            {
                "implementation": name,
                "host_ms": 1000 * float(np.median(host[name])),
                "host_p99_ms": 1000 * float(np.percentile(host[name], 99)),
                "device_ms": None if own is None else 1000 * float(np.median(own)),
                "device_p99_ms": None if own is None else 1000 * float(np.percentile(own, 99)),
                "least_ms": 1000 * min(host[name]),
                "ratios": {
                    ours: float(np.median(np.divide(host[name], host[ours])))
                    for ours in OURS
                    if ours in host
                },
            }
        )
    return rows


def make_parser() -> argparse.ArgumentParser:
    """The options of ``python -m benchmarks.engine``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("time", "memory"))
    parser.add_argument("cell", type=EngineCell.named)
    parser.add_argument("names", nargs="+", choices=list(IMPLEMENTATIONS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget-s", type=float, default=math.inf)
    return parser


def main() -> int:
    """Measure one cell in this process; the last line of output is the result as JSON."""
    options = make_parser().parse_args()
    cell: EngineCell = options.cell
    setting = Setting(options.device, options.dtype, cell.streams)
    if options.mode == "time":
        result = measure_time(
            cell, cell.config(), options.names, setting, options.rounds, options.budget_s
        )
    else:
        result = measure_memory(cell, cell.config(), options.names[0], setting)
    sys.stdout.write("\n" + json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
