"""The arguments of ``masklet bench``, and the search they set up."""

from __future__ import annotations

import argparse
from argparse import Namespace
from pathlib import Path

from streamer.cli.argument_types import folder, positive, positive_whole

BENCH_EXAMPLES = """\
examples:
  masklet bench --objective-p99-ms 100
  masklet bench --objective-p99-ms 200 --rate-hz 10 --objects 1,4,16 model=sam2.1_hiera_small
  masklet bench --duration-s 3600 --cell-s 20 --output-dir capacity tracking.max_objects=256

Each cell is a number of streams and of objects per stream. It runs the whole daemon in this process
with synthetic cameras, and a consumer of the masks in another process. A cell is carried if the p99
latency from a frame's capture to its arrival at the consumer is within the objective and (nearly)
no frame is skipped. For each number of objects, the number of streams is doubled until a cell
fails, then found by bisection.

Results are written after each cell; run the same command again to resume, or with another objective
to judge the same cells again. Use the machine for nothing else meanwhile.
"""


def add_bench_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments beside ``--config`` and KEY=VALUE."""
    parser.add_argument(
        "--objective-p99-ms", type=positive, default=100.0, metavar="MS",
        help="the largest p99 latency, from capture to consumer (100)",
    )  # fmt: skip
    parser.add_argument(
        "--rate-hz", type=positive, default=25.0, metavar="HZ", help="the rate of each camera (25)"
    )
    parser.add_argument(
        "--size",
        type=frame_size,
        default=(1280, 720),
        metavar="WxH",
        help="the size of its frames (1280x720)",
    )
    parser.add_argument(
        "--objects", type=numbers, default=(1, 2, 4, 8, 16), metavar="N,N,…",
        help="numbers of objects per stream to try (1,2,4,8,16)",
    )  # fmt: skip
    parser.add_argument(
        "--max-streams", type=positive_whole, default=32, metavar="N",
        help="try no more streams than this (32)",
    )  # fmt: skip
    parser.add_argument(
        "--lost-share", type=share, default=0.01, metavar="SHARE",
        help="the share of frames that may be skipped (0.01)",
    )  # fmt: skip
    parser.add_argument(
        "--duration-s", type=positive, default=600.0, metavar="S",
        help="the time limit of the search (600)",
    )  # fmt: skip
    parser.add_argument(
        "--cell-s", type=positive, default=8.0, metavar="S",
        help="the time to measure each cell, once its objects are tracked (8)",
    )  # fmt: skip
    parser.add_argument(
        "--output-dir", type=folder, default=Path("bench-output"), metavar="DIR",
        help="the folder for bench.md, bench.json and bench.png (bench-output)",
    )  # fmt: skip
    parser.add_argument("--fresh", action="store_true", help="measure earlier cells again")
    parser.add_argument("--no-plot", action="store_true", help="no bench.png (matplotlib draws it)")


def bench(arguments: Namespace) -> int:
    """``masklet bench``."""
    from streamer.cli.bench.cell import CellRunner
    from streamer.cli.bench.frames import render_frames
    from streamer.cli.bench.report import BenchReport, check_plots, describe_machine
    from streamer.cli.bench.search import FrontierSearch
    from streamer.cli.bench.search_run import BenchFiles, bench_console, finish, search
    from streamer.cli.startup import require_temporary_folder
    from streamer.config.loading import load_config
    from streamer.inference.build import configured_tracker, with_model_threads
    from streamer.runtime.logs import configure_logging

    config = load_config(arguments.config, arguments.overrides, [])
    require_temporary_folder()
    configure_logging("error")
    if not arguments.no_plot:
        check_plots()
    files = BenchFiles.under(arguments.output_dir, plot=not arguments.no_plot)
    if arguments.fresh:
        files.json.unlink(missing_ok=True)
    console = bench_console()
    console.print("loading the model, rendering frames …")
    config = with_model_threads(config)
    tracker = configured_tracker(config)
    tracker.warm_up()
    reasons = {} if tracker.paths is None else tracker.paths.reasons()
    for path, reason in reasons.items():
        console.print(f"{path} ({reason})")
    width, height = arguments.size
    settings = {
        "model": tracker.config.name,
        "device": str(tracker.device),
        "machine": describe_machine(config.model.threads),
        "paths": list(reasons),
        "overrides": sorted(arguments.overrides),
        "width": width,
        "height": height,
        "rate_hz": arguments.rate_hz,
        "cell_s": arguments.cell_s,
    }
    report = BenchReport(
        FrontierSearch(arguments.objects, arguments.max_streams, config.tracking.max_objects),
        files.known(settings),
        settings,
        arguments.objective_p99_ms,
        arguments.lost_share,
    )
    frames = render_frames(width, height, arguments.rate_hz)
    runner = CellRunner(config, tracker, frames, arguments.rate_hz, arguments.cell_s)
    report, code = search(report, runner, files, arguments.duration_s, console)
    finish(report, files, console)
    return code


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers from 1 to 64, separated by commas."""
    parts = text.split(",")
    if not all(part.isdecimal() and 1 <= int(part) <= 64 for part in parts):
        raise argparse.ArgumentTypeError(f"must be numbers from 1 to 64 as 1,4,16, got {text!r}")
    return tuple(map(int, parts))


def frame_size(text: str) -> tuple[int, int]:
    """``WxH`` in pixels."""
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise argparse.ArgumentTypeError(f"must be WxH such as 1280x720, got {text!r}")
    if not (64 <= int(width) <= 4096 and 64 <= int(height) <= 4096):
        raise argparse.ArgumentTypeError(f"must be between 64x64 and 4096x4096, got {text!r}")
    return int(width), int(height)


def share(text: str) -> float:
    """A number from 0 to below 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < 1:
        raise argparse.ArgumentTypeError(f"must be at least 0 and below 1, got {text!r}")
    return number
