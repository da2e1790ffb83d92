"""``python -m benchmarks``: everything the README's tables say, measured here.

A finished measurement is kept in the output folder and not taken again; delete it, or give
another folder, to measure anew.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# As the masklet command does: threads that spin while they wait starve the others.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "2000")

from rich.console import Console

from benchmarks import (
    engine,
    engine_profile,
    engine_report,
    latency,
    memory_growth,
    nano_rate,
    steady_step,
    steady_streams,
    step_against_transformers,
    viewer_cost,
    webrtc_latency,
    webrtc_memory,
)
from benchmarks.cells import (
    Cell,
    Cells,
)
from benchmarks.implementations import RIVALS
from streamer.runtime.malloc import keep_freed_memory
from tests.tracker.agreement.scripts import shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tracker import PRESETS

PARTS = ("step", "memory", "latency", "webrtc", "engine", "steady", "nano")
# The engine's cells take hours on a processor: they are asked for.
USUAL_PARTS = ("step", "memory", "latency", "webrtc", "steady", "nano")
MODEL = "sam2.1_hiera_tiny"


def main() -> int:
    """Measure the parts asked for and write ``report.md`` and the plot beside it."""
    options = _parse()
    keep_freed_memory()  # as the command does, too
    console = Console(stderr=True)
    cells = Cells(options.output)
    sections = []
    if "step" in options.part:
        with console.status("step against transformers") as status:
            done = [_step(cells, count, options, status.update) for count in options.objects]
        sections.append(("A step against transformers", step_against_transformers.report(done)))
    if "memory" in options.part:
        done = []
        for name in ("masklet", "transformers"):
            with console.status(f"memory of {name}, {options.frames} frames"):
                done.append(
                    cells.measure(
                        f"memory-{name}-{options.frames}",
                        lambda name=name: memory_growth.measure_memory(name, options.frames),
                    )
                )
        memory_growth.plot(done, options.output / "memory.png")
        sections.append(("Memory", memory_growth.report(done)))
    if "latency" in options.part:
        done = []
        for streams in options.streams:
            with console.status(f"latency, {streams} streams"):
                done.append(
                    cells.measure(
                        f"latency-{streams}-{Path(options.checkpoint).stem}",
                        lambda streams=streams: latency.measure_latency(
                            streams, options.duration_s, options.output, options.checkpoint
                        ),
                    )
                )
        sections.append(("From the camera to the socket", latency.report(done)))
    if "webrtc" in options.part:
        sections += _webrtc(cells, options, console)
    if "engine" in options.part:
        sections += _engine(cells, options, console)
    if "steady" in options.part:
        done = []
        for name in steady_streams.STREAMS:
            with console.status(f"{name}, {options.steady_frames} frames: objects come and go"):
                done.append(
                    cells.measure(
                        f"steady-{name}-{options.steady_frames}",
                        lambda name=name: steady_step.measure(name, options.steady_frames),
                    )
                )
        sections.append(
            ("A step while objects come and go", "\n\n".join(map(steady_step.report, done)))
        )
    if "nano" in options.part:
        rates = []
        for name in nano_rate.MODELS:
            with console.status(f"{name} alone"):
                rates.append(
                    cells.measure(
                        f"rate-{name}-{options.dtype}",
                        lambda name=name: nano_rate.measure(name, 200, options.dtype),
                    )
                )
        sections.append(("nano alone", "\n\n".join(map(nano_rate.report, rates))))
    text = "\n\n".join(f"## {title}\n\n{body}" for title, body in sections)
    (options.output / "report.md").write_text(text + "\n")
    sys.stdout.write(text + "\n")
    return 0


def _step(cells: Cells, objects: int, options: argparse.Namespace, say: object) -> Cell:
    config = PRESETS[MODEL].replaced(image_size=options.image_size)

    def measure() -> Cell:
        weights = amplified_weights(shapes_of(config), seed=0)
        return step_against_transformers.measure_step(
            config,
            weights,
            objects,
            options.rounds,
            say,  # type: ignore[arg-type]
        )

    return cells.measure(f"step-{options.image_size}-{objects}", measure)


def _engine(cells: Cells, options: argparse.Namespace, console: Console) -> list[tuple[str, str]]:
    """The cells asked for, and a profile of each: what it takes against what it must."""
    wanted = engine.FULL if options.full else options.cells
    with console.status("engine") as status:
        measured = engine_report.measure_cells(
            cells,
            wanted,
            options.implementations,
            options.device,
            options.dtype,
            options.rounds,
            60 * options.cell_minutes,
            status.update,
        )
        profiles = []
        for cell in wanted if options.profile else ():
            status.update(f"profile of {cell.name}")
            profiles.append(
                cells.measure(
                    f"engine-profile-{cell.name}-{options.device}-{options.dtype}",
                    lambda cell=cell: engine.in_own_process(
                        "profile",
                        cell,
                        ["masklet"],
                        ["--device", options.device, "--dtype", options.dtype],
                    ),
                )
            )
    engine_report.plot(measured, options.output / "engine.png")
    sections = [("The engine against its rivals", engine_report.report(measured))]
    return sections + [
        (f"Where a step goes: {profile['cell']}", engine_profile.report(profile))
        for profile in profiles
    ]


def _webrtc(cells: Cells, options: argparse.Namespace, console: Console) -> list[tuple[str, str]]:
    """Latency, what viewers cost, and (only with ``--memory-minutes``) memory."""
    with console.status("latency over WebRTC"):
        latency_cell = cells.measure(
            f"webrtc-latency-{Path(options.checkpoint).stem}",
            lambda: webrtc_latency.measure(options.duration_s, options.checkpoint),
        )
    costs = []
    for width, height in ((640, 360), (1280, 720)):
        for view in ("clean", "overlay"):
            with console.status(f"viewers of {width}x{height}, {view}"):
                costs.append(
                    cells.measure(
                        f"webrtc-viewers-{width}-{view}",
                        lambda width=width, height=height, view=view: viewer_cost.measure(
                            width, height, view, options.duration_s / 2
                        ),
                    )
                )
    sections = [
        (
            "WebRTC: from the camera to a subscriber and a screen",
            webrtc_latency.report([latency_cell]),
        ),
        ("WebRTC: what viewers cost", viewer_cost.report(costs)),
    ]
    if options.memory_minutes:
        with console.status(f"memory over WebRTC, {options.memory_minutes:g} minutes"):
            memory_cell = cells.measure(
                f"webrtc-memory-{options.memory_minutes:g}",
                lambda: webrtc_memory.measure(60 * options.memory_minutes),
            )
        sections.append(("WebRTC: memory", webrtc_memory.report([memory_cell])))
    return sections


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(USUAL_PARTS))
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmarks"))
    parser.add_argument("--image-size", type=int, default=1024, help="step")
    parser.add_argument("--objects", type=int, nargs="+", default=[1, 3], help="step")
    parser.add_argument("--rounds", type=int, default=5, help="step, engine: at most")
    parser.add_argument("--frames", type=int, default=300, help="memory")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4], help="latency")
    parser.add_argument("--duration-s", type=float, default=40.0, help="latency, webrtc")
    parser.add_argument("--checkpoint", default="nano", help="latency, webrtc")
    parser.add_argument(
        "--cells",
        type=engine.EngineCell.named,
        nargs="+",
        default=list(engine.FIRST),
        help="engine: tiny-1024-4-1 is sam2.1 tiny at 1024², 4 objects in each of 1 stream",
    )
    parser.add_argument("--full", action="store_true", help="engine: every cell there is")
    parser.add_argument(
        "--cell-minutes",
        type=float,
        default=3.0,
        help="engine: no further round of a cell begins that would be over after that",
    )
    parser.add_argument(
        "--profile",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="engine: also take a step of every cell apart",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="engine")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="engine, nano"
    )
    parser.add_argument(
        "--implementations",
        nargs="+",
        choices=list(RIVALS),
        default=["masklet", "transformers", "official"],
        help="engine; masklet-bfloat16 stands beside the others whatever --dtype says; "
        "official-compiled takes minutes to compile on a GPU, on a processor longer",
    )
    parser.add_argument("--steady-frames", type=int, default=2000, help="steady")
    parser.add_argument(
        "--memory-minutes", type=float, default=0.0, help="webrtc: 30 takes half an hour, 0 none"
    )
    options = parser.parse_args()
    options.output = options.output.resolve()
    return options


if __name__ == "__main__":
    sys.exit(main())
