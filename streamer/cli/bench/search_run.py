"""``masklet bench``: finds how many streams and objects this machine carries.

Measures one cell at a time with the whole daemon and a consumer, saves the results after each, and
resumes from them when it is run again.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from streamer.cli.bench.cell import CellResult
from streamer.cli.bench.report import BenchReport
from streamer.cli.bench.search import Cell
from streamer.cli.terminal import Terminal
from streamer.errors import MaskletError

EXIT_INTERRUPTED = 130


class Measures(Protocol):
    """Measures one cell."""

    @property
    def longest_s(self) -> float:
        """The time limit of a cell."""

    async def measure(self, cell: Cell) -> CellResult:
        """Measure ``cell``."""


@dataclass(frozen=True, slots=True)
class BenchFiles:
    """The files of the results; ``plot`` None: no plot."""

    json: Path
    markdown: Path
    plot: Path | None

    @classmethod
    def under(cls, folder: Path, plot: bool) -> BenchFiles:
        """The files in a folder, which is created."""
        make_output_folder(folder)
        return cls(
            folder / "bench.json", folder / "bench.md", folder / "bench.png" if plot else None
        )

    def known(self, settings: dict[str, Any]) -> dict[Cell, CellResult]:
        """Cells measured earlier. Raises ``MaskletError`` for those of other settings."""
        if not self.json.exists():
            return {}
        try:
            kept = json.loads(self.json.read_text())
            before = dict(kept["settings"])
            results = [
                CellResult(**{name: each[name] for name in CellResult.__slots__})
                for each in kept["cells"]
            ]
        except OSError as error:
            raise MaskletError(f"{self.json} cannot be read: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise MaskletError(
                f"{self.json} is no result of masklet bench; move it away"
            ) from error
        differing = sorted(name for name in settings if before.get(name) != settings[name])
        if differing:
            raise MaskletError(
                f"{self.json} holds cells that were measured with another {', '.join(differing)}; "
                "give another --output-dir, or --fresh to measure anew"
            )
        return {result.cell: result for result in results}

    def write(self, report: BenchReport) -> None:
        """Write all files, each whole even if interrupted."""
        _replace(self.json, json.dumps(report.json(), indent=1) + "\n")
        _replace(self.markdown, report.markdown())


def search(
    report: BenchReport,
    measures: Measures,
    files: BenchFiles,
    duration_s: float,
    console: Terminal,
    clock_s: Callable[[], float] = time.monotonic,
) -> tuple[BenchReport, int]:
    """Measure until all is found or ``duration_s`` is over; the report, and the exit code.

    A cell is begun only if it can end in time. Ctrl-C keeps the cells that were measured.
    """
    end_s = clock_s() + duration_s
    code = 0
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.can_redraw) as progress:
        task = progress.add_task("", total=duration_s)
        while (cell := report.search.next_cell(report.known)) is not None:
            left_s = end_s - clock_s()
            if left_s < measures.longest_s:
                console.print(f"--duration-s {duration_s:g} is nearly over; run it again to go on")
                break
            name = f"{_count(cell.streams, 'stream')} × {_count(cell.objects, 'object')}"
            progress.update(task, description=name, completed=duration_s - left_s)
            try:
                result = asyncio.run(measures.measure(cell))
            except KeyboardInterrupt:
                console.print("interrupted; what was measured is kept")
                code = EXIT_INTERRUPTED
                break
            report = replace(report, results={**report.results, cell: result})
            files.write(report)
            verdict = "carried" if report.is_carried(result) else "not carried"
            console.print(
                f"{name}: {verdict}, p50 {result.latency_p50_ms:.0f} ms, p99 "
                f"{result.latency_p99_ms:.0f} ms, {result.frames_per_s:.0f} frames/s, "
                f"{result.lost_share:.1%} lost"
            )
    return report, code


def finish(report: BenchReport, files: BenchFiles, console: Terminal) -> None:
    """Print the table, and write all files."""
    files.write(report)
    console.print()
    console.print(report.table())
    console.print(report.description())
    if files.plot is not None:
        report.save_plot(files.plot)
    written = [str(path) for path in (files.markdown, files.json, files.plot) if path is not None]
    console.print(f"written: {', '.join(written)}")


def make_output_folder(folder: Path) -> None:
    """Create the folder of the results. Raises ``MaskletError``."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MaskletError(f"--output-dir {folder}: {error.strerror}") from error


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    try:
        new.write_text(text)
        os.replace(new, path)
    except OSError as error:
        raise MaskletError(f"{path} cannot be written: {error.strerror}") from error


def bench_console() -> Terminal:
    """The console that the command prints to."""
    return Terminal(highlight=False, width=None if sys.stdout.isatty() else 120)
