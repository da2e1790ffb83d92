"""What a first start on a CUDA device compiles, and for how long: on a machine without one.

The warm-up of a tracker runs on tensors of shapes alone (``shapes_only``), and every Triton kernel
that it launches, candidates that are only measured included, is compiled for the device with an
empty cache: one after the other, then side by side in threads as a start does. Left out is the
kernel that packs masks: on shapes alone it has no place.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
import triton
from torch import Tensor
from triton.runtime import driver
from triton.runtime.jit import MockTensor

from benchmarks.compiled_kernels import SHARED_BYTES, Device
from benchmarks.device_counts import use_fused
from benchmarks.shapes_only import shapes_only
from tracker import PRESETS, Tracker, TrackerOptions
from tracker.engine import attention_choice
from tracker.engine.triton_launch import compiled_together
from tracker.model import Sam2

# A launch: the function, its arguments and its options.
Launch = tuple[Any, tuple[Any, ...], dict[str, Any]]


def launches(name: str, objects: int, capability: int) -> list[Launch]:
    """Every launch of a warm-up."""
    found: list[Launch] = []

    def note(kernel: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> None:
        given = [MockTensor(each.dtype) if isinstance(each, Tensor) else each for each in args]
        found.append((kernel, tuple(given), options))

    with warm(capability), mock.patch("triton.runtime.jit.JITFunction.run", note):
        model = Sam2(PRESETS[name])
        tracker = Tracker(model, torch.device("cuda", 0), TrackerOptions(max_objects=objects))
        use_fused(model)
        tracker.warm_up()
    return found


@contextmanager
def warm(capability: int) -> Iterator[None]:
    """Let a warm-up on shapes alone try every kernel, and time none."""

    def call_all(call_of: Any, kernels: Mapping[str, Any], _: object) -> dict[str, float]:
        ours = [name for name in kernels if name.startswith("triton")]
        for name in ours:
            call_of(kernels[name])()
        return {name: float(place) for place, name in enumerate(ours)}

    def inputs(part: Any, rows: int, tokens: int, on_grid: int, plain: int) -> Any:
        weight, keys = part.v_proj.weight, on_grid + plain
        shapes = (tokens, len(weight)), (keys, len(weight)), (keys, weight.shape[1])
        return *(weight.new_empty(rows, *shape) for shape in shapes), plain, None

    properties = SimpleNamespace(
        shared_memory_per_block=49_152, shared_memory_per_block_optin=SHARED_BYTES[capability]
    )
    with ExitStack() as stack:
        stack.enter_context(shapes_only())
        stack.enter_context(mock.patch("tracker.tracker.fingerprint", return_value=""))
        stack.enter_context(mock.patch("torch.cuda.get_device_properties", return_value=properties))
        stack.enter_context(
            mock.patch.multiple(
                attention_choice,
                _times=call_all,
                _random_inputs=inputs,
                _difference=lambda *_: 0.0,
            )
        )
        stack.enter_context(mock.patch("tracker.engine.engine.Engine._choose_trunk"))
        yield


def one_by_one(found: list[Launch]) -> dict[str, list[float]]:
    """Compile: of each function the kernels, and seconds of this process and of the assembler."""
    totals: dict[str, list[float]] = {}
    for kernel, args, options in found:
        known = len(kernel.device_caches[0][0])
        begun = _seconds()
        kernel.run(*args, grid=(1,), warmup=True, **options)
        spent = [after - before for before, after in zip(begun, _seconds(), strict=True)]
        if len(kernel.device_caches[0][0]) > known:
            before = totals.setdefault(kernel.fn.__name__, [0.0] * 3)
            totals[kernel.fn.__name__] = [x + y for x, y in zip(before, (1, *spent), strict=True)]
    return totals


def together(found: list[Launch]) -> None:
    """Compile in threads, one for each core."""
    with compiled_together():
        for kernel, args, options in found:
            kernel.run(*args, grid=(1,), warmup=True, **options)


def _seconds() -> tuple[float, float]:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time(), children.ru_utime + children.ru_stime


@contextmanager
def cold(found: list[Launch]) -> Iterator[None]:
    """Let nothing be compiled, in this process and on disk; prints the seconds on the clock."""
    for kernel, _, _ in found:
        kernel.device_caches.clear()
    with TemporaryDirectory() as folder, mock.patch.object(triton.knobs.cache, "dir", folder):
        begun = time.perf_counter()
        yield
        print(f"{time.perf_counter() - begun:.1f} s on the clock", flush=True)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="sam2.1_hiera_tiny", choices=PRESETS)
    parser.add_argument("--objects", type=int, default=16)
    parser.add_argument("--architecture", type=int, default=90, choices=SHARED_BYTES)
    options = parser.parse_args()
    found = launches(options.model, options.objects, options.architecture)
    driver.set_active(Device(options.architecture))
    print("| function | kernels | s of Triton | s of ptxas |\n|---|---|---|---|")
    with cold(found):
        totals = one_by_one(found)
        totals["all"] = [sum(column) for column in zip(*totals.values(), strict=True)]
        for name, (count, own, apart) in totals.items():
            print(f"| {name} | {count:g} | {own:.1f} | {apart:.1f} |", flush=True)
    print(f"in {os.cpu_count()} threads:")
    with cold(found):
        together(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
