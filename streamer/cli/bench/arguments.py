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
  masklet bench --fleet --only worker --repeats 20 --rate-hz 5 --size 320x180

Each cell is a number of streams and of objects per stream. It runs the whole daemon in this process
with rendered cameras or a recording, and a consumer of the masks in another process. A cell is
carried if the p99 latency from a frame's capture to its arrival at the consumer is within the
objective and (nearly) no frame is skipped. For each number of objects, the number of streams is
doubled until a cell fails, then found by bisection.

Results are written after each cell; run the same command again to resume, or with another objective
to judge the same cells again. Use the machine for nothing else meanwhile.
"""

FLEET_PARTS = (
    "sweep",
    "gateway",
    "move",
    "drain",
    "daemon",
    "worker",
    "manager",
    "network",
    "node",
)


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
        "--clip", type=folder, metavar="FILE",
        help="cameras play this recording in a loop, at its size and rate; decoding is included",
    )  # fmt: skip
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
    fleet = parser.add_argument_group("with --fleet: a fleet on three simulated nodes")
    fleet.add_argument(
        "--fleet", action="store_true",
        help="move streams; kill workers, a node, the manager; cut a network",
    )  # fmt: skip
    fleet.add_argument(
        "--only", type=fleet_parts, default=FLEET_PARTS, metavar="NAME,NAME,…",
        help=f"what to measure, of {', '.join(FLEET_PARTS)} (all)",
    )  # fmt: skip
    fleet.add_argument(
        "--fleet-streams", type=positive_whole, default=3, metavar="N", help="its streams (3)"
    )
    fleet.add_argument(
        "--lease-s", type=positive, default=5.0, metavar="S",
        help="after so long without its manager a worker ends what it tracks (5)",
    )  # fmt: skip
    fleet.add_argument(
        "--repeats", type=positive_whole, default=1, metavar="N", help="of each fault (1)"
    )


def bench(arguments: Namespace) -> int:
    """``masklet bench``."""
    if arguments.fleet:
        from streamer.cli.bench.fleet.run import bench_fleet

        return bench_fleet(arguments)
    from streamer.cli.bench.cell import CellRunner
    from streamer.cli.bench.frames import recorded_frame, render_frames
    from streamer.cli.bench.report import BenchReport, check_plots, describe_machine
    from streamer.cli.bench.search import FrontierSearch
    from streamer.cli.bench.search_run import BenchFiles, bench_console, finish, search
    from streamer.cli.startup import require_temporary_folder
    from streamer.config.loading import load_config
    from streamer.inference.build import configured_trackers, with_model_threads
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
    console.print("loading the model and the frames …")
    rate_hz: float = arguments.rate_hz
    if arguments.clip is None:
        width, height = arguments.size
        frames = render_frames(width, height, rate_hz)
    else:
        first, rate_hz = recorded_frame(arguments.clip)
        frames = [first]
        height, width = first.image.shape[:2]
    config = with_model_threads(config)
    trackers = configured_trackers(config)
    for each in trackers:
        each.warm_up()
    tracker = trackers[0]
    reasons = {} if tracker.paths is None else tracker.paths.reasons()
    for path, reason in reasons.items():
        console.print(f"{path} ({reason})")
    settings = {
        "model": tracker.config.name,
        "device": ", ".join(str(each.device) for each in trackers),
        "machine": describe_machine(config.model.threads),
        "paths": list(reasons),
        "overrides": sorted(arguments.overrides),
        "width": width,
        "height": height,
        "rate_hz": rate_hz,
        "clip": None if arguments.clip is None else arguments.clip.name,
        "cell_s": arguments.cell_s,
    }
    report = BenchReport(
        FrontierSearch(arguments.objects, arguments.max_streams, config.tracking.max_objects),
        files.known(settings),
        settings,
        arguments.objective_p99_ms,
        arguments.lost_share,
    )
    clip = None if arguments.clip is None else arguments.clip.absolute()
    runner = CellRunner(config, trackers, frames, rate_hz, arguments.cell_s, clip)
    report, code = search(report, runner, files, arguments.duration_s, console)
    finish(report, files, console)
    return code


def fleet_parts(text: str) -> tuple[str, ...]:
    """Names of ``FLEET_PARTS``, separated by commas."""
    parts = tuple(text.split(","))
    for part in parts:
        if part not in FLEET_PARTS:
            raise argparse.ArgumentTypeError(f"must be of {', '.join(FLEET_PARTS)}, got {part!r}")
    return parts


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
