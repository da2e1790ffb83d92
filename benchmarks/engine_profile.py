"""Where a step's time goes, part by part, against what its arithmetic alone would take.

Operations are those that are run: a multiplication with its addition is two; products,
convolutions and attention only. The limit is their time at the rate of a large matrix product in
the same dtype, the best of several libraries' ways, measured in the same run; what a part takes
beyond is layout, softmax, norms, small operations and memory. On a CUDA device calls run one by
one here, not as graphs, so that they can be timed; operations of a Triton kernel, which no counter
sees, are missing there.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from benchmarks.cells import Cell
from benchmarks.engine import (
    HEIGHT,
    WIDTH,
    EngineCell,
    ready,
)
from benchmarks.implementations import (
    ImageArray,
    Masklet,
    Setting,
)
from benchmarks.machine import describe_machine
from tests.tracker.agreement.scripts import picture
from tracker import ModelConfig

PRODUCT = 2048  # rows and columns of the matrices that show the peak
# Methods of the network in the order of a step, and what they are called in the table.
PARTS = {
    "encode_image": "image encoder",
    "begin_attention": "memory attention, of the frame alone",
    "memory_tokens": "memories laid out",
    "attend_memory": "memory attention, of the objects",
    "decode": "mask decoder",
    "object_pointer": "object pointers",
    "begin_memory": "memory encoder, of the frame alone",
    "finish_memory": "memory encoder, of the objects",
}


def peak_flops(setting: Setting) -> float:
    """Operations a second of a large matrix product, the best of some."""
    dtype = getattr(torch, setting.dtype)
    left, right = (
        torch.randn(PRODUCT, PRODUCT, dtype=dtype, device=setting.device) for _ in range(2)
    )
    ways: list[Callable[[], Any]] = [lambda: left @ right]
    if setting.device == "cpu":
        ways.append(lambda: torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], ""))
    with torch.inference_mode():
        best = min(_timed(way, setting) for way in ways for _ in range(10))
    return 2 * PRODUCT**3 / best


def measure_profile(cell: EngineCell, config: ModelConfig, setting: Setting, rounds: int) -> Cell:
    """Seconds (of the fastest of ``rounds``) and operations of every part of a step of ours."""
    image = picture(1, HEIGHT, WIDTH)
    entry = ready("masklet", cell, config, setting, image)
    assert isinstance(entry, Masklet)
    operations = _operations(entry, image)
    best = min((_seconds(entry, image, setting) for _ in range(rounds)), key=lambda t: t["step"])
    return {
        "cell": cell.name,
        "dtype": setting.dtype,
        "device": setting.device,
        "peak_gflops": peak_flops(setting) / 1e9,
        "seconds": best,
        "gflop": operations,
        "machine": describe_machine(),
    }


@contextmanager
def _around(model: Any, watch: Callable[[str, Callable[..., Any]], Any]) -> Iterator[None]:
    """Within this, ``watch`` makes the calls of every part."""
    with ExitStack() as stack:
        for name in PARTS:
            method = getattr(model, name)

            def watched(
                *arguments: Any, name: str = name, method: Any = method, **named: Any
            ) -> Any:
                return watch(name, lambda: method(*arguments, **named))

            stack.enter_context(mock.patch.object(model, name, watched))
        yield


def _operations(entry: Masklet, image: ImageArray) -> dict[str, float]:
    """GFLOP of every part."""
    counted: dict[str, float] = defaultdict(float)

    def attention(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))

    def product(x: Any, weight: Any, *_: Any, **__: Any) -> int:
        return 2 * math.prod(x) * int(weight[0])  # the counter hands over shapes

    kernels = {
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention,
        torch.ops.mkldnn._linear_pointwise: product,
    }

    def watch(name: str, call: Callable[[], Any]) -> Any:
        with FlopCounterMode(display=False, custom_mapping=kernels) as counter:
            result = call()
        counted[name] += counter.get_total_flops() / 1e9
        return result

    with _around(entry.model, watch):
        entry.step(image)
    return dict(counted)


def _seconds(entry: Masklet, image: ImageArray, setting: Setting) -> dict[str, float]:
    """One step, and the time inside every part."""
    taken: dict[str, float] = defaultdict(float)

    def watch(name: str, call: Callable[[], Any]) -> Any:
        results: list[Any] = []
        taken[name] += _timed(lambda: results.append(call()), setting)
        return results[0]

    with _around(entry.model, watch):
        taken["step"] = _timed(lambda: entry.step(image), setting)
    return dict(taken)


def _timed(run: Callable[[], Any], setting: Setting) -> float:
    _wait(setting)
    begun = time.perf_counter()
    run()
    _wait(setting)
    return time.perf_counter() - begun


def _wait(setting: Setting) -> None:
    if setting.device == "cuda":
        torch.cuda.synchronize()


def report(profile: Cell) -> str:
    """The table, as markdown."""
    seconds, gflop, peak = profile["seconds"], profile["gflop"], profile["peak_gflops"]
    lines = [
        "| part | ms | of the step | GFLOP | limit ms | reaches |",
        "|---|---|---|---|---|---|",
    ]

    def row(name: str, taken_s: float, work: float) -> str:
        limit_s = work / peak
        return (
            f"| {name} | {1000 * taken_s:.1f} | {taken_s / seconds['step']:.0%} | {work:.2f} "
            f"| {1000 * limit_s:.2f} | {limit_s / taken_s if taken_s else 0:.0%} |"
        )

    own = [name for name in PARTS if name in seconds]
    lines += [row(title, seconds.get(name, 0), gflop.get(name, 0)) for name, title in PARTS.items()]
    other = seconds["step"] - sum(seconds[name] for name in own)
    lines.append(row("images, choice, masks, everything else", other, 0.0))
    lines.append(row("**step**", seconds["step"], sum(gflop.values())))
    return (
        "\n".join(lines)
        + f"\n\n{profile['cell']}, {profile['dtype']} on {profile['device']}; a product of "
        + f"{PRODUCT}² runs at {peak:.0f} GFLOP/s; {profile['machine']}"
    )


def main() -> int:
    """One profile, in this process; the result is the last line printed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mode", choices=("profile",))
    parser.add_argument("cell", type=EngineCell.named)
    parser.add_argument("names", nargs="+", choices=("masklet",))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cell: EngineCell = options.cell
    setting = Setting(options.device, options.dtype, cell.streams, graphs=False)
    result = measure_profile(cell, cell.config(), setting, options.rounds)
    sys.stdout.write("\n" + json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
