"""How even the duration of a step stays while objects come and go; shapes; memory in use.

A step with more objects takes longer, which is not unevenness. So each step is also compared with
the median of the steps with the same number of objects. A second session of the same tracker, in
which nothing changes, shows how even the machine itself is. Counters cover what must not happen at
all: a shape first seen after the warm-up, growing memory, and objects that only Python's garbage
collector can free.
"""

from __future__ import annotations

import ctypes
import gc
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import numpy.typing as npt
import psutil
import torch

from benchmarks.machine import describe_machine
from benchmarks.results import Result
from benchmarks.steady_streams import (
    CHANGE_EVERY_FRAMES,
    FEWEST_OBJECTS,
    MOST_OBJECTS,
    SETTLED_AFTER_FRAMES,
    STREAMS,
    YOUNG_FRAMES,
    Crowd,
    Stream,
)

STILL_EVERY_FRAMES = 5
# Changes until the same number of objects is reached in the same direction.
CHANGES_OF_A_CYCLE = 2 * (MOST_OBJECTS - FEWEST_OBJECTS)
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
    """Bytes allocated and not freed, by glibc's count, which includes PyTorch's CPU allocator."""
    now = _malloc_information()()
    return int(now.uordblks + now.hblkhd)


@cache
def _malloc_information() -> Callable[[], _MallocInformation]:
    information = ctypes.CDLL(None).mallinfo2
    information.restype = _MallocInformation
    return information


@dataclass(slots=True)
class Times:
    """Of every step: wall-clock seconds, processor seconds, and page faults."""

    clock_s: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)
    page_faults: list[int] = field(default_factory=list)

    def take(self, step: Callable[[], object]) -> None:
        """Measure one step."""
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        begun, begun_processor = time.perf_counter(), time.process_time()
        step()
        self.processor_s.append(time.process_time() - begun_processor)
        self.clock_s.append(time.perf_counter() - begun)
        self.page_faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults)


@dataclass(slots=True)
class Steadiness:
    """Measurements of a run, one entry per frame unless stated otherwise.

    ``prompted``: an object began. ``young``: some object's memory is not full yet. ``still``: steps
    of the session in which nothing changes. ``in_use_bytes`` and ``resident_bytes``: once per
    change, before the next. ``uncollected``: objects that Python's garbage collector had to free.
    ``shapes``: all; ``shapes_in_service``: first seen after the warm-up.
    """

    times: Times = field(default_factory=Times)
    still: Times = field(default_factory=Times)
    objects: list[int] = field(default_factory=list)
    prompted: list[bool] = field(default_factory=list)
    young: list[bool] = field(default_factory=list)
    in_use_bytes: list[int] = field(default_factory=list)
    resident_bytes: list[int] = field(default_factory=list)
    uncollected: int = 0
    shapes: int = 0
    shapes_in_service: int = 0


def run(stream: Stream, frames: int) -> Steadiness:
    """Track ``frames`` frames."""
    found = Steadiness()

    def count(phase: str, information: dict[str, int]) -> None:
        if phase == "stop":
            found.uncollected += information["collected"]

    stream.tracker.warm_up()
    bytes_in_use()
    # As the daemon does once it is warm: existing objects are exempt from garbage collection.
    gc.collect()
    gc.freeze()
    gc.callbacks.append(count)
    try:
        _track(stream, frames, found)
    finally:
        gc.callbacks.remove(count)
        gc.unfreeze()
    return found


def _track(stream: Stream, frames: int, found: Steadiness) -> None:
    tracker = stream.tracker
    session, still = tracker.open_session(), tracker.open_session()
    crowd, process = Crowd(session), psutil.Process()
    first = stream.picture(0)
    tracker.step([(still, first.image, Crowd(still).begin(first))])
    begun = -YOUNG_FRAMES
    for index in range(frames):
        picture = stream.picture(index)
        prompts = []
        if index == 0:
            prompts = crowd.begin(picture)
        elif index % CHANGE_EVERY_FRAMES == 0:
            prompts = crowd.change(picture)
        if prompts:
            begun = index
        found.times.take(lambda: tracker.step([(session, picture.image, prompts)]))  # noqa: B023
        found.objects.append(len(session.object_ids))
        found.prompted.append(bool(prompts))
        found.young.append(index - begun < YOUNG_FRAMES)
        if index % STILL_EVERY_FRAMES == 0:
            found.still.take(lambda: tracker.step([(still, picture.image, [])]))  # noqa: B023
        if index % CHANGE_EVERY_FRAMES == CHANGE_EVERY_FRAMES - 1:
            gc.collect()
            found.in_use_bytes.append(bytes_in_use())
            found.resident_bytes.append(process.memory_info().rss)
    counts = tracker.engine_counts
    found.shapes, found.shapes_in_service = counts.shapes, counts.in_service


def measure(name: str, frames: int) -> Result:
    """Run one of ``STREAMS`` and summarise it."""
    stream = STREAMS[name]()
    threads = torch.get_num_threads()
    torch.set_num_threads(stream.threads or threads)
    try:
        found = run(stream, frames)
        used = torch.get_num_threads()
    finally:
        torch.set_num_threads(threads)
    settled = slice(SETTLED_AFTER_FRAMES, None)
    objects, prompted, young = (
        np.array(column[settled]) for column in (found.objects, found.prompted, found.young)
    )
    steps = {
        kind: 1000 * np.array(column[settled])
        for kind, column in (
            ("clock", found.times.clock_s),
            ("processor", found.times.processor_s),
        )
    }
    still = {
        kind: 1000 * np.array(column[SETTLED_AFTER_FRAMES // STILL_EVERY_FRAMES :])
        for kind, column in (
            ("clock", found.still.clock_s),
            ("processor", found.still.processor_s),
        )
    }
    kinds = {
        "settled": ~prompted & ~young,
        "one is new": young & ~prompted,
        "one is prompted": prompted,
    }
    return {
        "name": stream.name,
        "threads": used,
        "frames": frames,
        "ms": {
            kind: {
                "all frames": _spread(taken),
                "without a prompt": _spread(taken[~prompted]),
                "relative to steps with as many objects": _spread(of_their_count(taken, objects)),
                "session without changes": _spread(still[kind]),
            }
            for kind, taken in steps.items()
        },
        "median_ms": {
            f"{count} objects": {
                name: float(np.median(steps["processor"][(objects == count) & which]))
                for name, which in kinds.items()
                if ((objects == count) & which).any()
            }
            for count in sorted(set(objects.tolist()))
        },
        "page_faults": _spread(np.array(found.times.page_faults[settled], np.float64)),
        "shapes": found.shapes,
        "shapes_in_service": found.shapes_in_service,
        "uncollected": found.uncollected,
        "growth_mib": {
            "in_use": growth(found.in_use_bytes) / MEBIBYTE,
            "resident": growth(found.resident_bytes) / MEBIBYTE,
        },
        "machine": describe_machine(),
    }


def growth(after_changes: list[int]) -> int:
    """Growth between the first settled cycle of changes and the last, at equal object counts."""
    settled = after_changes[SETTLED_AFTER_FRAMES // CHANGE_EVERY_FRAMES :]
    return settled[-1] - settled[(len(settled) - 1) % CHANGES_OF_A_CYCLE]


def of_their_count(
    taken: npt.NDArray[np.float64], objects: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Every step divided by the median step with the same number of objects."""
    shares = np.empty_like(taken)
    for count in set(objects.tolist()):
        own = objects == count
        shares[own] = taken[own] / np.median(taken[own])
    return shares


def _spread(values: npt.NDArray[np.float64]) -> dict[str, float]:
    return {"p50": float(np.percentile(values, 50)), "p99": float(np.percentile(values, 99))}


def report(result: Result) -> str:
    """The tables of one stream, as markdown."""
    lines = [
        f"**{result['name']}**: {result['frames']} frames, one object less or more every "
        f"{CHANGE_EVERY_FRAMES} frames, between {MOST_OBJECTS} and {FEWEST_OBJECTS}; threads: "
        f"{result['threads']}; {result['machine']}",
        "",
        "| step | wall clock p50 | p99 | p99 / p50 | processor p50 | p99 | p99 / p50 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in result["ms"]["clock"]:
        unit = "" if name.startswith("relative") else " ms"
        columns = []
        for kind in ("clock", "processor"):
            own = result["ms"][kind][name]
            columns += [f"{own['p50']:.2f}{unit}", f"{own['p99']:.2f}{unit}"]
            columns.append(f"{own['p99'] / own['p50']:.2f}")
        lines.append(f"| {name} | {' | '.join(columns)} |")
    kinds = list(dict.fromkeys(kind for own in result["median_ms"].values() for kind in own))
    lines += [
        "",
        f"| median processor time | {' | '.join(kinds)} |",
        "|---" * (1 + len(kinds)) + "|",
    ]
    for count, own in result["median_ms"].items():
        medians = [f"{own[kind]:.2f} ms" if kind in own else "–" for kind in kinds]
        lines.append(f"| {count} | {' | '.join(medians)} |")
    grown, faults = result["growth_mib"], result["page_faults"]
    shapes = (
        f"{result['shapes']} shapes, {result['shapes_in_service']} of them new after the warm-up; "
        if result["shapes"]
        else ""
    )
    lines += [
        "",
        f"{shapes}memory in use {grown['in_use']:+.2f} MiB, resident {grown['resident']:+.2f} "
        f"MiB since frame {SETTLED_AFTER_FRAMES}; page faults per step: {faults['p50']:.0f} "
        f"(p50), {faults['p99']:.0f} (p99); left to the garbage collector: "
        f"{result['uncollected']} objects",
    ]
    return "\n".join(lines)
