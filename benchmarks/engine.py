"""The engine against its rivals; a cell is a model, an image size, so many objects and streams.

A cell runs in a process of its own. In it the implementations take turns, round by round, so that
whatever else the machine does meets all alike; the bank is full and a round was thrown away before
the first one counts. Every cell is a file, and what was interrupted goes on where it stopped.
Peak memory needs a process for each implementation, and is a file of its own.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import numpy as np
import psutil
import torch

from benchmarks.cells import Cell
from benchmarks.implementations import (
    OURS,
    RIVALS,
    ImageArray,
    Implementation,
    Setting,
)
from benchmarks.machine import describe_machine
from benchmarks.step_against_transformers import fill
from tests.tracker.agreement.scripts import picture, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tracker import PRESETS, ModelConfig

HEIGHT, WIDTH = 720, 1280
MEBIBYTE = 1 << 20
SIZES = ("tiny", "small", "base_plus", "large")


@dataclass(frozen=True, slots=True)
class EngineCell:
    """What is measured; ``objects`` are of each stream."""

    size: str
    image_size: int
    objects: int
    streams: int

    @property
    def name(self) -> str:
        """As ``--cells`` takes it and as the file is called: tiny-1024-4-1."""
        return f"{self.size}-{self.image_size}-{self.objects}-{self.streams}"

    @classmethod
    def named(cls, name: str) -> EngineCell:
        """The inverse. Raises ValueError."""
        size, *numbers = name.split("-")
        if size not in SIZES or len(numbers) != 3:
            raise ValueError(f"a cell is called like tiny-1024-4-1 (objects, streams), not {name}")
        return cls(size, *map(int, numbers))

    def config(self) -> ModelConfig:
        """The network."""
        return PRESETS[f"sam2.1_hiera_{self.size}"].replaced(image_size=self.image_size)


FIRST = (
    *(EngineCell("tiny", 1024, objects, 1) for objects in (1, 4, 16)),
    *(EngineCell("tiny", 1024, 1, streams) for streams in (4, 16)),
    EngineCell("large", 1024, 1, 1),
    EngineCell("base_plus", 1024, 4, 1),
    EngineCell("tiny", 512, 1, 1),
)
FULL = tuple(
    EngineCell(size, image_size, objects, streams)
    for size in SIZES
    for image_size in (1024, 512)
    for objects in (1, 4, 16, 64)
    for streams in (1, 4, 16, 32)
    if objects * streams <= 64
)


def in_own_process(mode: str, cell: EngineCell, names: list[str], options: list[str]) -> Cell:
    """Run ``mode`` (time, memory or profile) of one cell; what it prints last is the result.

    Raises RuntimeError with the end of what it said.
    """
    module = "engine_profile" if mode == "profile" else "engine"
    command = [sys.executable, "-m", f"benchmarks.{module}", mode, cell.name, *names]
    command += options
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    if finished.returncode:
        said = "\n".join(finished.stderr.splitlines()[-5:])
        raise RuntimeError(f"{mode} of {cell.name} by {', '.join(names)} failed:\n{said}")
    result: Cell = json.loads(finished.stdout.splitlines()[-1])
    return result


def measure_time(
    cell: EngineCell,
    config: ModelConfig,
    names: list[str],
    setting: Setting,
    rounds: int,
    budget_s: float = math.inf,
) -> Cell:
    """Seconds of every round, by implementation and way: host to host and device to device.

    On a processor the two ways are one but for the resizing of a picture: only the first is taken.
    No round begins that would be over after ``budget_s``; one counts whatever it takes. A rival
    that takes longer than that to be built, compiled and filled is left out.
    """
    image = picture(1, HEIGHT, WIDTH)
    entries: dict[str, Implementation] = {}
    refused: dict[str, str] = {}
    for name in names:
        try:
            with _at_most(math.inf if name in OURS else budget_s):
                entries[name] = ready(name, cell, config, setting, image)
        except Exception as error:  # a rival that cannot be built here is left out, and why
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


def measure_memory(cell: EngineCell, config: ModelConfig, name: str, setting: Setting) -> Cell:
    """The most memory that the process (or the CUDA device) held, and what its imports took."""
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
    name: str, cell: EngineCell, config: ModelConfig, setting: Setting, image: ImageArray
) -> Implementation:
    """An implementation with its objects started and its memory bank full."""
    weights = amplified_weights(shapes_of(config), seed=0)
    entry: Implementation = RIVALS[name](config, weights, cell.objects, setting)
    fill(entry, config, image, cell.objects)
    return entry


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the main thread when the time is over."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"not ready (built, compiled, bank filled) after {seconds:g} s")

    if math.isinf(seconds):
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _wait(setting: Setting) -> None:
    if setting.device == "cuda":
        torch.cuda.synchronize()


def summary(cell: Cell) -> list[Cell]:
    """A row for each implementation: median and p99 in ms, both ways, and ours' advantage.

    ``ratios`` by which of ours: how often it is done while the implementation is once, the median
    of the rounds' own.
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


def main() -> int:
    """One cell, in this process; the result is the last line printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("time", "memory"))
    parser.add_argument("cell", type=EngineCell.named)
    parser.add_argument("names", nargs="+", choices=list(RIVALS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--budget-s", type=float, default=math.inf)
    options = parser.parse_args()
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
