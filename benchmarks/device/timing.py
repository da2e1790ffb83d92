"""Times of calls on a device: host and device apart, medians and tails."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from benchmarks.device.scale import Scale
from benchmarks.results import Result


def wait(scale: Scale) -> None:
    """Wait for the device."""
    if scale.device != "cpu":
        torch.cuda.synchronize()


def device_ms(call: Callable[[], object], scale: Scale, rounds: int = 12) -> float:
    """Milliseconds of a call on the device, the median of ``rounds`` after two more."""
    for _ in range(2):
        call()
    wait(scale)
    return float(np.median([_once_ms(call, scale) for _ in range(min(rounds, scale.rounds))]))


def _once_ms(call: Callable[[], object], scale: Scale) -> float:
    if scale.device == "cpu":
        begun = time.perf_counter()
        call()
        return 1000 * (time.perf_counter() - begun)
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end))


def repeated_ms(step: Callable[[], object], scale: Scale) -> list[float]:
    """Wall-clock milliseconds of steps, one after the other, for ``cell_s``; at least one."""
    times: list[float] = []
    end = time.perf_counter() + scale.cell_s
    while not times or (len(times) < scale.rounds and time.perf_counter() < end):
        begun = time.perf_counter()
        step()
        times.append(1000 * (time.perf_counter() - begun))
    return times


def spread(times_ms: Sequence[float]) -> Result:
    """Median and p99 in milliseconds, and of how many."""
    return {
        "median_ms": round(float(np.median(times_ms)), 4),
        "p99_ms": round(float(np.percentile(times_ms, 99)), 4),
        "of": len(times_ms),
    }
