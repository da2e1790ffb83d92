"""Measures the engine's cells one after the other; makes the table and the plot."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import matplotlib as mpl

from benchmarks.engine import EngineCell, in_own_process, summary
from benchmarks.implementations import OURS
from benchmarks.results import Result, Results

mpl.use("Agg")
from matplotlib import pyplot as plt


def measure_cells(
    cells: Results,
    wanted: Sequence[EngineCell],
    names: Sequence[str],
    device: str,
    dtype: str,
    rounds: int,
    budget_s: float,
    say: Callable[[str], None] = lambda _: None,
) -> list[Result]:
    """Time, then peak memory, of every cell that is not on disk yet.

    ``budget_s`` bounds the rounds of one cell.
    """
    options = ["--device", device, "--dtype", dtype]
    done = []
    for cell in wanted:
        title = f"{cell.name}-{device}-{dtype}"
        say(f"{title}: time of {', '.join(names)}")
        timed = cells.measure(
            f"engine-{title}-{'+'.join(names)}",
            partial(
                in_own_process,
                "time",
                cell,
                list(names),
                [*options, "--rounds", str(rounds), "--budget-s", str(budget_s)],
            ),
        )
        memory = {}
        for name in timed["seconds"]["host"]:
            say(f"{title}: memory of {name}")
            memory[name] = cells.measure(
                f"engine-memory-{title}-{name}",
                partial(in_own_process, "memory", cell, [name], options),
            )
        done.append(timed | {"memory": memory})
    return done


def report(cells: Sequence[Result]) -> str:
    """The table, as markdown."""
    ours = [name for name in OURS if any(name in cell["seconds"]["host"] for cell in cells)]
    lines = [
        "| model | image | objects × streams | | rounds | host → host p50 / p99 "
        "| device → device p50 / p99 | frames/s | peak memory "
        + "".join(f"| against {name} " for name in ours)
        + "|",
        "|---" * (9 + len(ours)) + "|",
    ]
    for cell in cells:
        for row in summary(cell):
            name = row["implementation"]
            memory = cell["memory"][name]
            device = "–"
            if row["device_ms"] is not None:
                device = f"{row['device_ms']:.0f} / {row['device_p99_ms']:.0f} ms"
            lines.append(
                f"| {cell['size']} | {cell['image_size']}² | {cell['objects']} × {cell['streams']} "
                f"| {name} | {cell['rounds']} "
                f"| {row['host_ms']:.0f} / {row['host_p99_ms']:.0f} ms | {device} "
                f"| {1000 * cell['streams'] / row['host_ms']:.2f} "
                f"| {memory['peak_mib'] - memory['imports_mib']:.0f} MiB "
                + "".join(f"| {row['ratios'].get(name, math.nan):.2f} " for name in ours)
                + "|"
            )
        lines += [
            f"| {cell['size']} | {cell['image_size']}² | {cell['objects']} × {cell['streams']} "
            f"| {name} | | not measured: {why} | | | {'| ' * len(ours)}|"
            for name, why in cell["refused"].items()
        ]
    setting = cells[0]["setting"]
    return (
        "\n".join(lines)
        + f"\n\n{setting['dtype']} on {setting['device']}, bank full, alternating rounds after "
        + "one warm-up round; ratios are medians over the rounds; memory is the process's peak "
        + "beyond its imports, weights included; "
        + str(cells[0]["machine"])
    )


def plot(cells: Sequence[Result], path: Path) -> None:
    """Bars: frames per second of every implementation, cell by cell."""
    names = list(dict.fromkeys(name for cell in cells for name in cell["seconds"]["host"]))
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    width = 0.8 / len(names)
    for place, name in enumerate(names):
        rates = []
        for cell in cells:
            own = {row["implementation"]: row for row in summary(cell)}.get(name)
            rates.append(1000 * cell["streams"] / own["host_ms"] if own else 0.0)
        positions = [index + place * width for index in range(len(cells))]
        axes.bar(positions, rates, width, label=name)
    labels = [
        f"{cell['size']} {cell['image_size']}²\n{cell['objects']} × {cell['streams']}"
        for cell in cells
    ]
    axes.set_xticks([index + 0.4 - width / 2 for index in range(len(cells))], labels, fontsize=8)
    axes.set_ylabel("frames per second, host to host")
    axes.set_title(f"{cells[0]['setting']['dtype']} on {cells[0]['setting']['device']}")
    axes.grid(alpha=0.3, axis="y")
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)
