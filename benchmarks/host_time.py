"""Host time of a step on a CUDA device, measured without one: everything but the device's part.

``python -m benchmarks.host_time`` runs whole steps, ``submit`` and ``collect``, with full memories
and prepared images. Graphs are replayed by doing nothing, as are copies between host and device,
waits, and the packing of masks. Of the network there is a copy for images of 64 x 64 pixels on the
processor, so that the few kernels beside graphs cost about what their launch would. The driver's
part of replays and copies is missing. Processor time of the one thread, in milliseconds.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from benchmarks.machine import describe_machine
from tracker import PRESETS, Prompt, Tracker, TrackerOptions
from tracker.engine.graph_calls import GraphCalls
from tracker.engine.tape import Tape
from tracker.host_arrays import HostBuffers, Transfer
from tracker.masks import packing
from tracker.model import Sam2
from tracker.options import EngineOptions

HEIGHT, WIDTH = 720, 1280
POLICIES = ("sam2", "robust")
# Streams, and objects of each.
LOADS = ((1, 1), (1, 16), (4, 1), (16, 1))
CPU = torch.device("cpu")
SIDE = 64


class Stubs(HostBuffers):
    """Results that are there at once: of visible objects, each of 100 x 100 pixels."""

    def __init__(self) -> None:
        super().__init__(pinned=False)

    def begin(self, tensors: Any) -> Transfer:
        """See ``HostBuffers.begin``."""
        known = self.bytes
        transfer = super().begin(tensors)
        if self.bytes > known:
            numbers, measures, bits = transfer.arrays()
            numbers[:], bits[:] = 1, 255
            measures[:] = WIDTH - 100, HEIGHT - 100, 200, 200, 10_000
        return transfer

    def _copied(self, into: Tensor, joined: Tensor) -> None:
        return None


@contextmanager
def no_device() -> Iterator[None]:
    """Let the processor be a device with graphs, in this thread."""
    cuda = ("Stream", "current_stream", "stream", "device", "graph", "graph_pool_handle")
    with ExitStack() as stack:
        stack.enter_context(
            mock.patch.multiple(
                torch.cuda, CUDAGraph=Graph, **dict.fromkeys(cuda, mock.MagicMock())
            )
        )
        stand_ins: dict[str, Any] = {
            "engine.tape.pinned": torch.clone,
            "engine.graph_calls._RUNS_BEFORE_CAPTURE": 1,
            "engine.tape.Tape.read": _arrays,
            "step.frame_step.packs_at_once": lambda device, options: True,
            "step.results.packs_at_once": lambda device, options: True,
            "step.results.pack_masks": packing._shapes,
        }
        for name, stand_in in stand_ins.items():
            stack.enter_context(mock.patch(f"tracker.{name}", stand_in))
        yield


def _arrays(_: Tape, arrays: Sequence[Any]) -> list[Tensor | None]:
    """What a graph reads from the tape: without replays the tape does not move on."""
    return [None if each is None else torch.from_numpy(each) for each in arrays]


class Graph:
    """``torch.cuda.CUDAGraph``."""

    replays = 0  # of all graphs

    def replay(self) -> None:
        """Do nothing, and count."""
        Graph.replays += 1


def steps(model: str, policy: str, streams: int, objects: int) -> Iterator[None]:
    """Steps with full memories, one for each ``next``; under ``no_device``."""
    config = replace(PRESETS[model], image_size=SIDE)
    rows = streams * objects
    options = TrackerOptions(
        max_objects=rows,
        memory_policy=policy,  # type: ignore[arg-type]
        engine=EngineOptions(fixed_shapes="on"),
    )
    tracker = Tracker(Sam2(config), CPU, options)
    tracker._engine.calls = GraphCalls(CPU, options.engine.most_graphs, rows)
    tracker._frame_step._host_buffers = Stubs()
    sessions = [tracker.open_session() for _ in range(streams)]
    image = tracker.prepare(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    prompts = [Prompt(number, ((640, 360),), (1,)) for number in range(objects)]
    for index in range(config.recent_memories + config.recent_pointers + 2):
        tracker.step([(session, image, [] if index else prompts) for session in sessions])
    while True:
        tracker.submit([(session, image, []) for session in sessions]).collect()
        yield


def measured(step: Iterator[None], count: int) -> tuple[float, float]:
    """Median and lowest processor time of a step, ms."""
    times = []
    for _ in range(count):
        begin = time.thread_time_ns()
        next(step)
        times.append((time.thread_time_ns() - begin) / 1e6)
    return float(np.median(times)), min(times)


def main(arguments: list[str] | None = None) -> int:
    """Measure, and print the table as it grows."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.host_time", description=__doc__)
    parser.add_argument("--model", default="sam2.1_hiera_tiny", choices=sorted(PRESETS))
    parser.add_argument("--steps", type=int, default=300, help="of each cell (default: 300)")
    parser.add_argument("--profile", action="store_true", help="also list the slowest functions")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    print(f"{describe_machine()}\n\n| streams x objects | policy | median ms | lowest ms |")
    print("|---|---|---|---|")
    with no_device():
        for streams, objects in LOADS:
            for policy in POLICIES:
                step = steps(options.model, policy, streams, objects)
                median, least = measured(step, options.steps)
                print(f"| {streams} x {objects} | {policy} | {median:.2f} | {least:.2f} |")
                if options.profile:
                    profile = cProfile.Profile(time.thread_time)
                    profile.enable()
                    measured(step, options.steps)
                    profile.disable()
                    pstats.Stats(profile).sort_stats("tottime").print_stats(35)
    return 0


if __name__ == "__main__":
    sys.exit(main())
