"""How even a step stays while objects come and go: time, shapes, and memory in use.

The network is a small one, so that thousands of frames take a minute; the code is the one that
every network runs, with objects padded to a few counts as on a GPU. One of eight objects leaves
and another comes every so many frames. Counters say what must not happen: a shape that was not
there at the warm-up, and memory in use that grows.
"""

from __future__ import annotations

import ctypes
import gc
import time
from dataclasses import dataclass

import numpy as np
import psutil
import torch

from tests.benchmarks.cells import Cell
from tests.benchmarks.machine import describe_machine
from tests.tracker.little import LITTLE, little_picture
from tracker import Prompt, Tracker, TrackerOptions
from tracker.engine.options import EngineOptions

OBJECTS = 8
CHANGE_EVERY_FRAMES = 25
# By then every object has a full memory, and the allocator its pools.
SETTLED_AFTER_FRAMES = 200
MEBIBYTE = 1 << 20


class _MallocInformation(ctypes.Structure):
    """``struct mallinfo2`` of glibc."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def bytes_in_use() -> int:
    """What was allocated and not freed, by PyTorch's CPU allocator too; glibc's own count."""
    information = ctypes.CDLL(None).mallinfo2
    information.restype = _MallocInformation
    now = information()
    return int(now.uordblks + now.hblkhd)


@dataclass(frozen=True, slots=True)
class Steadiness:
    """Of every frame: seconds of processor time and of the clock, whether an object began on it.

    ``in_use_bytes`` and ``resident_bytes`` are of the end of every change. ``shapes_in_service``
    were first met after the warm-up, ``shapes`` are all.
    """

    processor_s: list[float]
    clock_s: list[float]
    prompted: list[bool]
    in_use_bytes: list[int]
    resident_bytes: list[int]
    shapes: int
    shapes_in_service: int


def run(frames: int) -> Steadiness:
    """Track so many frames."""
    options = TrackerOptions(
        max_objects=OBJECTS, engine=EngineOptions(fixed_shapes="on", row_sizes=(1, 2, 4, 8))
    )
    tracker = Tracker.random(LITTLE, seed=0, options=options)
    tracker.warm_up()
    warm = tracker.engine_counts.shapes
    session = tracker.open_session()
    pictures = [little_picture(index) for index in range(5)]
    process = psutil.Process()
    processor_s, clock_s, prompted, in_use, resident = [], [], [], [], []
    newest = 0
    for index in range(frames):
        prompts = []
        if index % CHANGE_EVERY_FRAMES == 0:
            if len(session.object_ids) == OBJECTS:
                session.remove(session.object_ids[0])
            newest += 1
            place = 4.0 + newest % 7 * 6
            prompts = [Prompt(newest, box_xyxy=(place, place, place + 16, place + 16))]
        begun, begun_processor = time.perf_counter(), time.process_time()
        tracker.step([(session, pictures[index % 5], prompts)])
        processor_s.append(time.process_time() - begun_processor)
        clock_s.append(time.perf_counter() - begun)
        prompted.append(bool(prompts))
        if index % CHANGE_EVERY_FRAMES == CHANGE_EVERY_FRAMES - 1:
            gc.collect()
            in_use.append(bytes_in_use())
            resident.append(process.memory_info().rss)
    counts = tracker.engine_counts
    assert counts.shapes - warm == counts.in_service
    return Steadiness(
        processor_s, clock_s, prompted, in_use, resident, counts.shapes, counts.in_service
    )


def measure(frames: int) -> Cell:
    """A run on one thread; for so small a network, handing out work costs more than work."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        steadiness = run(frames)
    finally:
        torch.set_num_threads(threads)
    prompted = np.array(steadiness.prompted[SETTLED_AFTER_FRAMES:])
    times = {
        "processor": np.array(steadiness.processor_s[SETTLED_AFTER_FRAMES:]),
        "clock": np.array(steadiness.clock_s[SETTLED_AFTER_FRAMES:]),
    }
    settled = SETTLED_AFTER_FRAMES // CHANGE_EVERY_FRAMES
    growth = {
        name: (values[-1] - values[settled]) / MEBIBYTE
        for name, values in (
            ("in_use", steadiness.in_use_bytes),
            ("resident", steadiness.resident_bytes),
        )
    }
    return {
        "frames": frames,
        "ms": {
            f"{kind}, {which}": {
                "p50": 1000 * float(np.percentile(own, 50)),
                "p99": 1000 * float(np.percentile(own, 99)),
            }
            for kind, taken in times.items()
            for which, own in (("all frames", taken), ("without a prompt", taken[~prompted]))
        },
        "shapes": steadiness.shapes,
        "shapes_in_service": steadiness.shapes_in_service,
        "growth_mib": growth,
        "machine": describe_machine(),
    }


def report(cell: Cell) -> str:
    """The table, as markdown."""
    lines = ["| time | p50 | p99 | p99 / p50 |", "|---|---|---|---|"]
    lines += [
        f"| {name} | {own['p50']:.2f} ms | {own['p99']:.2f} ms | {own['p99'] / own['p50']:.2f} |"
        for name, own in cell["ms"].items()
    ]
    growth = cell["growth_mib"]
    return (
        "\n".join(lines)
        + f"\n\n{cell['frames']} frames, an object of {OBJECTS} replaced every "
        + f"{CHANGE_EVERY_FRAMES}; {cell['shapes']} shapes, {cell['shapes_in_service']} of them "
        + f"new after the warm-up; memory in use {growth['in_use']:+.2f} MiB, resident "
        + f"{growth['resident']:+.2f} MiB since frame {SETTLED_AFTER_FRAMES}; reduced network, "
        + f"one thread; {cell['machine']}"
    )
