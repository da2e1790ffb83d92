"""Measure a CUDA device unattended, in 8 minutes, on a machine with PyTorch 2.11 or newer.

Results are written at once, into a folder; the same command goes on after a stop. It ends with one
table against the goals and the limit of the device's arithmetic (report.md). `make device-kit`
packs this with what a bare machine lacks. With --rehearse everything runs on a processor, as small
as it gets: no figure of that means anything.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.device.parts import BUDGET_S, PARTS, Part, named, run_here
from benchmarks.device.report import write_report
from benchmarks.device.scale import DEVICE, REHEARSAL
from benchmarks.device.visit import Visit


def main(arguments: list[str] | None = None) -> int:
    """Run the visit, or with --part one part in this process; 0 if everything is complete."""
    options = make_parser().parse_args(arguments)
    out: Path = options.out
    scale = REHEARSAL if options.rehearse else DEVICE
    if scale is DEVICE and not torch.cuda.is_available():
        print("CUDA is not available here; --rehearse runs everything on the processor")
        return 2
    if options.part is not None:
        run_here(options.part, scale, out)
        return 0

    def command(part: Part) -> list[str]:
        again = ["--rehearse"] if options.rehearse else []
        return [sys.executable, "-m", __package__, str(out), "--part", part.name, *again]

    wanted = [part for part in PARTS if options.only is None or part in options.only]
    # A processor that others use too may take long to import what a part needs.
    patience = 10.0 if options.rehearse else 1.0
    visit = Visit(out, command, options.budget_s, lambda: _reported(out), patience)
    complete = visit.run(wanted)
    print(write_report(out))
    return 0 if complete else 1


def _reported(out: Path) -> None:
    write_report(out)


def make_parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.device",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, help="the folder for the results")
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the processor")
    parser.add_argument(
        "--budget-s", type=float, default=BUDGET_S, help="for all parts (default: %(default)g)"
    )
    parser.add_argument(
        "--only", type=_part, nargs="+", metavar="PART",
        help=f"of {', '.join(part.name for part in PARTS)}",
    )  # fmt: skip
    parser.add_argument("--part", type=_part, help="run this one here, without a limit")
    return parser


def _part(name: str) -> Part:
    try:
        return named(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main())
