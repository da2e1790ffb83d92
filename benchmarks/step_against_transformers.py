"""What a step takes, ours against `transformers`: one run, taking turns, the bank full.

Both run float32 with the same random weights on the same pictures. Full means all spatial
memories and object pointers that the paper's windows hold. Rounds alternate, so that whatever
else the machine does meets both alike; ratios are formed within a round.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from benchmarks.cells import Cell
from benchmarks.implementations import (
    IMPLEMENTATIONS,
    Box,
    ImageArray,
    Implementation,
    Weights,
)
from benchmarks.machine import describe_machine
from tests.tracker.agreement.scripts import picture
from tracker import ModelConfig

HEIGHT, WIDTH = 360, 640


def measure_step(
    config: ModelConfig,
    weights: Weights,
    objects: int,
    rounds: int,
    say: Callable[[str], None] = lambda _: None,
) -> Cell:
    """Medians in seconds of ``rounds`` steps of each implementation, and of their ratio."""
    image = picture(1, HEIGHT, WIDTH)
    implementations: list[Implementation] = []
    for kind in IMPLEMENTATIONS.values():
        say(f"filling the bank of {kind.name}, {objects} objects")
        implementation = kind(config, weights, objects)
        fill(implementation, config, image, objects)
        implementation.step(image)  # warm-up, with everything in place
        implementations.append(implementation)
    seconds: dict[str, list[float]] = {entry.name: [] for entry in implementations}
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}, {objects} objects")
        # Who begins changes from round to round.
        for implementation in implementations[:: 1 if number % 2 == 0 else -1]:
            begun = time.perf_counter()
            implementation.step(image)
            seconds[implementation.name].append(time.perf_counter() - begun)
    ratios = [
        theirs / ours
        for ours, theirs in zip(seconds["masklet"], seconds["transformers"], strict=True)
    ]
    return {
        "model": config.name,
        "image_size": config.image_size,
        "objects": objects,
        "rounds": rounds,
        "masklet_s": statistics.median(seconds["masklet"]),
        "transformers_s": statistics.median(seconds["transformers"]),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "seconds": seconds,
        "machine": describe_machine(),
    }


def fill(
    implementation: Implementation, config: ModelConfig, image: ImageArray, objects: int
) -> None:
    """Start the objects, then as many frames as the longest window remembers."""
    implementation.step(image, _boxes(objects))
    with implementation.without_heavy_parts():
        for _ in range(max(config.recent_memories, config.recent_pointers)):
            implementation.step(image)


def _boxes(objects: int) -> dict[int, Box]:
    # Four in a row, as many rows as it takes; the rows overlap.
    return {
        place + 1: (40.0 + 150 * (place % 4), 60.0 + place // 4, 160.0 + 150 * (place % 4), 280.0)
        for place in range(objects)
    }


def report(cells: list[Cell]) -> str:
    """The table, as markdown."""
    lines = [
        "| model | image | objects | masklet | transformers | transformers / masklet |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {cell['model']} | {cell['image_size']}² | {cell['objects']} | "
        f"{cell['masklet_s']:.2f} s | {cell['transformers_s']:.2f} s | {cell['ratio']:.2f} |"
        for cell in cells
    ]
    rounds, machine = cells[0]["rounds"], cells[0]["machine"]
    return (
        "\n".join(lines)
        + f"\n\nfloat32, bank full, medians of {rounds} alternating rounds; {machine}"
    )
