"""Whole steps: both policies, objects and streams; from host and prepared, alone and ahead.

Host and device time are apart: the host's is that of ``submit``, and of ``collect`` after the
device was waited for; the device's is between two events around ``submit``.
"""

from __future__ import annotations

import time

import torch

from benchmarks.device.record import Record
from benchmarks.device.scale import Scale
from benchmarks.device.scenario import Streams, tracker_of
from benchmarks.device.timing import repeated_ms, spread, wait
from benchmarks.results import Result
from tracker import Tracker

POLICIES = ("robust", "sam2")  # the default first


def run(scale: Scale, record: Record) -> None:
    """Measure what is not recorded yet."""
    for policy in POLICIES:
        _cells(scale, record, "tiny", policy, scale.cells())
    _cells(scale, record, "large", "robust", [(1, 1)])


def _cells(
    scale: Scale, record: Record, size: str, policy: str, cells: list[tuple[int, int]]
) -> None:
    keys = {cell: f"{size} {policy} {cell[0]} objects {cell[1]} streams" for cell in cells}
    if all(record.has(key) for key in keys.values()):
        return
    most = max(objects for objects, _ in cells)
    tracker, warm_s = tracker_of(scale, scale.config(size), policy, most=most)
    if not record.has(key := f"{size} {policy} warm-up"):
        record.add(key, seconds=round(warm_s, 2), graphs=tracker.engine_counts.shapes)
    while tracker.warm_next():
        pass
    for (objects, streams), name in keys.items():
        if not record.has(name):
            record.add(name, **measure(tracker, scale, objects, streams))


def measure(tracker: Tracker, scale: Scale, objects: int, streams: int) -> Result:
    """One cell, every way."""
    if scale.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    own = Streams(tracker, scale, objects, streams)
    result: Result = {
        "prepared": spread(repeated_ms(own.step, scale)),
        "ahead": spread(_ahead_ms(own, scale)),
        "from_host": spread(repeated_ms(lambda: own.step(prepared=False), scale)),
        **_apart(own, scale),
        "in_service": tracker.engine_counts.in_service,
    }
    if scale.device != "cpu":
        result["peak_mib"] = torch.cuda.max_memory_allocated() >> 20
    own.close()
    return result


def _ahead_ms(own: Streams, scale: Scale) -> list[float]:
    """From one collected step to the next."""
    pending = own.step_ahead(None)

    def step() -> None:
        nonlocal pending
        pending = own.step_ahead(pending)

    times = repeated_ms(step, scale)
    pending.collect()
    return times


def _apart(own: Streams, scale: Scale) -> Result:
    host: list[float] = []
    device: list[float] = []
    end = time.perf_counter() + scale.cell_s
    while not host or (len(host) < scale.rounds and time.perf_counter() < end):
        wait(scale)
        events = []
        if scale.device != "cpu":
            events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            events[0].record()
        begun = time.perf_counter()
        collect = own.submit()
        submitted = time.perf_counter()
        if events:
            events[1].record()
        wait(scale)
        if events:
            device.append(events[0].elapsed_time(events[1]))
        done = time.perf_counter()
        collect()
        host.append(1000 * (submitted - begun + time.perf_counter() - done))
    return {"host": spread(host), **({"device": spread(device)} if device else {})}
