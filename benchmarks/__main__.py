"""Measure Masklet's speed, latency and memory on this machine.

Writes report.md and plots into the output folder, and prints the report. Every finished
measurement is a file in that folder and is not taken again: an interrupted run continues where it
stopped. Delete the file, or give another folder, to measure anew. docs/benchmarks.md has the
figures of our machines, with the command of each.
"""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
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
    viewer_cost,
    webrtc_latency,
    webrtc_memory,
)
from benchmarks.implementations import IMPLEMENTATIONS
from benchmarks.results import Results
from streamer.runtime.malloc import keep_freed_memory

Section = tuple[str, str]
"""Title and markdown body of a part of the report."""

EPILOG = """\
parts:
  nano     frames per second of the embedded model, tracker only
  latency  camera to subscriber over RTSP, beside decoding alone (needs GStreamer's RTSP server)
  webrtc   camera to subscriber and screen over WebRTC, and what a viewer costs (needs Chromium)
  steady   how even steps stay while objects come and go
  engine   one step against transformers and Meta's predictor, with peak memory
  memory   resident memory over many frames, against transformers

examples:
  python -m benchmarks                                  all parts: about an hour on two cores
  python -m benchmarks --part nano                      about a minute
  python -m benchmarks --part latency --streams 1 4
  python -m benchmarks --part webrtc --memory-minutes 30
  python -m benchmarks --part engine --cells tiny-1024-4-1 large-1024-1-1 --profile
  python -m benchmarks --part engine --device cuda --dtype bfloat16 \\
      --implementations masklet transformers official official-compiled

other measurements, each with --help:
  python -m benchmarks.bfloat16_agreement    masks in bfloat16 against those in float32
  python -m benchmarks.mask_generator        everything in a picture, beside the package sam2
  python -m benchmarks.image_size_switch     what a smaller image costs for a while
  python -m benchmarks.device_counts         kernels and bytes of a step on a GPU, without one
  python -m benchmarks.host_time             the host's part of a step on a GPU, without one
  python -m benchmarks.recorded_video        a file to written masks, against Meta's predictor
"""


def main(arguments: list[str] | None = None) -> int:
    """Measure the parts asked for and write ``report.md`` and the plots beside it."""
    options = make_parser().parse_args(arguments)
    options.output = options.output.resolve()
    keep_freed_memory()  # as the masklet command does
    console = Console(stderr=True)
    results = Results(options.output)
    sections: list[Section] = []
    for part in options.part:
        sections += PARTS[part](results, options, console)
    text = "\n\n".join(f"## {title}\n\n{body}" for title, body in sections)
    (options.output / "report.md").write_text(text + "\n")
    sys.stdout.write(text + "\n")
    return 0


def _nano(results: Results, options: argparse.Namespace, console: Console) -> list[Section]:
    with console.status("nano alone"):
        measurement = partial(nano_rate.measure, nano_rate.FRAMES, options.dtype)
        done = results.measure(f"rate-nano-{options.dtype}", measurement)
    return [("The embedded model alone", nano_rate.report(done))]


def _latency(results: Results, options: argparse.Namespace, console: Console) -> list[Section]:
    done = []
    for streams in options.streams:
        with console.status(f"latency, {streams} streams"):
            measurement = partial(
                latency.measure_latency,
                streams,
                options.duration_s,
                options.output,
                options.checkpoint,
            )
            name = f"latency-{streams}-{Path(options.checkpoint).stem}"
            done.append(results.measure(name, measurement))
    return [("From the camera to the socket", latency.report(done))]


def _webrtc(results: Results, options: argparse.Namespace, console: Console) -> list[Section]:
    with console.status("latency over WebRTC"):
        measured = results.measure(
            f"webrtc-latency-{Path(options.checkpoint).stem}",
            partial(webrtc_latency.measure, options.duration_s, options.checkpoint),
        )
    costs = []
    for width, height in ((640, 360), (1280, 720)):
        for view in ("clean", "overlay"):
            with console.status(f"viewers of {width}x{height}, {view}"):
                measurement = partial(
                    viewer_cost.measure, width, height, view, options.duration_s / 2
                )
                costs.append(results.measure(f"webrtc-viewers-{width}-{view}", measurement))
    sections = [
        ("WebRTC: from the camera to a subscriber and a screen", webrtc_latency.report([measured])),
        ("WebRTC: the cost of viewers", viewer_cost.report(costs)),
    ]
    if options.memory_minutes:
        with console.status(f"memory over WebRTC, {options.memory_minutes:g} minutes"):
            memory = results.measure(
                f"webrtc-memory-{options.memory_minutes:g}",
                partial(webrtc_memory.measure, 60 * options.memory_minutes),
            )
        sections.append(("WebRTC: memory", webrtc_memory.report([memory])))
    return sections


def _steady(results: Results, options: argparse.Namespace, console: Console) -> list[Section]:
    done = []
    for name in steady_streams.STREAMS:
        with console.status(f"{name}, {options.steady_frames} frames: objects come and go"):
            measurement = partial(steady_step.measure, name, options.steady_frames)
            done.append(results.measure(f"steady-{name}-{options.steady_frames}", measurement))
    return [("A step while objects come and go", "\n\n".join(map(steady_step.report, done)))]


def _engine(results: Results, options: argparse.Namespace, console: Console) -> list[Section]:
    cells = engine.FULL if options.full else options.cells
    settings = ["--device", options.device, "--dtype", options.dtype]
    with console.status("engine") as status:
        measured = engine_report.measure_cells(
            results,
            cells,
            options.implementations,
            options.device,
            options.dtype,
            options.rounds,
            60 * options.cell_minutes,
            status.update,
        )
        profiles = []
        for cell in cells if options.profile else ():
            status.update(f"profile of {cell.name}")
            name = f"engine-profile-{cell.name}-{options.device}-{options.dtype}"
            measurement = partial(engine.in_own_process, "profile", cell, ["masklet"], settings)
            profiles.append(results.measure(name, measurement))
    engine_report.plot(measured, options.output / "engine.png")
    return [
        ("One step, against other implementations", engine_report.report(measured)),
        *(
            (f"Where a step goes: {profile['cell']}", engine_profile.report(profile))
            for profile in profiles
        ),
    ]


def _memory(results: Results, options: argparse.Namespace, console: Console) -> list[Section]:
    done = []
    for name in ("masklet", "transformers"):
        with console.status(f"memory of {name}, {options.frames} frames"):
            measurement = partial(memory_growth.measure_memory, name, options.frames)
            done.append(results.measure(f"memory-{name}-{options.frames}", measurement))
    memory_growth.plot(done, options.output / "memory.png")
    return [("Memory", memory_growth.report(done))]


# Quick ones first.
PARTS = {
    "nano": _nano,
    "latency": _latency,
    "webrtc": _webrtc,
    "steady": _steady,
    "engine": _engine,
    "memory": _memory,
}


def make_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--part", nargs="+", choices=list(PARTS), default=list(PARTS), help="default: all"
    )
    parser.add_argument("--output", type=Path, default=Path("outputs/benchmarks"))

    live = parser.add_argument_group("latency, webrtc")
    live.add_argument("--streams", type=int, nargs="+", default=[1, 4], help="latency: cameras")
    live.add_argument("--duration-s", type=float, default=40.0)
    live.add_argument("--checkpoint", default="nano")
    live.add_argument(
        "--memory-minutes", type=float, default=0.0, help="webrtc: also watch memory for as long"
    )

    step = parser.add_argument_group("engine")
    step.add_argument(
        "--cells",
        type=engine.EngineCell.named,
        nargs="+",
        default=list(engine.USUAL),
        metavar="SIZE-IMAGE-OBJECTS-STREAMS",
        help="tiny-1024-4-1 is sam2.1 tiny at 1024², 4 objects in each of 1 stream",
    )
    step.add_argument("--full", action="store_true", help="every cell: many hours")
    step.add_argument(
        "--implementations",
        nargs="+",
        choices=list(IMPLEMENTATIONS),
        default=["masklet", "transformers"],
        help="official is Meta's predictor, installed by pip when asked for; "
        "official-compiled takes minutes to compile on a GPU, longer on a CPU",
    )
    step.add_argument("--rounds", type=int, default=5, help="of each cell, at most")
    step.add_argument(
        "--cell-minutes", type=float, default=3.0, help="no further round starts after that"
    )
    step.add_argument("--profile", action="store_true", help="also time the parts of a step")
    step.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    step.add_argument(
        "--dtype", choices=("float32", "bfloat16"), default="float32", help="also of nano"
    )

    long = parser.add_argument_group("steady, memory")
    long.add_argument("--steady-frames", type=int, default=2000)
    long.add_argument("--frames", type=int, default=300, help="memory")
    return parser


if __name__ == "__main__":
    sys.exit(main())
