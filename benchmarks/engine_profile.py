"""Time of the parts of a step, against the time of their arithmetic alone.

Counted are the multiplications and additions of matrix products, convolutions and attention. The
limit is their time at the rate of a large matrix product in the same dtype, by the faster library,
measured in the same run; the rest is layout, softmax, norms, small operations and memory traffic.
On a CUDA device calls run one by one instead of as graphs, and by PyTorch's kernels instead of
Triton's, so that they can be timed and counted.
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

from benchmarks.engine import HEIGHT, WIDTH, EngineCell, ready
from benchmarks.implementations import ImageArray, Masklet, Setting
from benchmarks.machine import describe_machine
from benchmarks.results import Result
from tests.tracker.agreement.scripts import picture
from tracker import ModelConfig

PRODUCT = 2048  # rows and columns of the matrices that measure the peak rate
# Methods of the network in the order of a step, and their names in the table.
PARTS = {
    "encode_image": "image encoder",
    "begin_attention": "memory attention, per frame",
    "memory_tokens": "memory tokens and their codes",
    "attend_memory": "memory attention, per object",
    "decode": "mask decoder",
    "object_pointer": "object pointers",
    "begin_memory": "memory encoder, per frame",
    "finish_memory": "memory encoder, per object",
}


def peak_flops(setting: Setting) -> float:
    """Operations per second of a large matrix product, the best of ten by each library."""
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


def measure_profile(cell: EngineCell, config: ModelConfig, setting: Setting, rounds: int) -> Result:
    """Operations and seconds of every part of our step, in the fastest of ``rounds``."""
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
    """A context in which ``watch`` receives the call of every part."""
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
        return int(2 * math.prod(x) * weight[0])  # the counter passes shapes

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
    """Seconds of one step and of every part in it."""
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


def report(profile: Result) -> str:
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
    lines.append(row("everything else (images, mask choice, masks)", other, 0.0))
    lines.append(row("**step**", seconds["step"], sum(gflop.values())))
    return (
        "\n".join(lines)
        + f"\n\n{profile['cell']}, {profile['dtype']} on {profile['device']}; a product of "
        + f"{PRODUCT}² runs at {peak:.0f} GFLOP/s; {profile['machine']}"
    )


def main() -> int:
    """Profile one cell in this process; the last line of output is the result as JSON."""
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
