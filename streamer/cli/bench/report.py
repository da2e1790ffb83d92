"""The report of ``masklet bench``: a table for a terminal, Markdown, JSON, and a plot."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from streamer.cli.bench.cell import CellResult
from streamer.cli.bench.search import Cell, FrontierSearch
from streamer.errors import MaskletError
from streamer.runtime.machine import core_count, processor_name

_HEADINGS = (
    "objects a stream", "streams carried", "latency p50 / p99", "step p50 / p99", "frames/s",
    "beyond",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class BenchReport:
    """The measured cells, judged by the objective."""

    search: FrontierSearch
    results: Mapping[Cell, CellResult]
    settings: Mapping[str, Any]
    objective_p99_ms: float
    lost_share: float

    @property
    def known(self) -> dict[Cell, bool]:
        """Which cells were carried."""
        return {cell: self.is_carried(result) for cell, result in self.results.items()}

    def is_carried(self, result: CellResult) -> bool:
        """Whether a cell meets the objective."""
        return result.is_carried(self.objective_p99_ms, self.lost_share)

    @property
    def is_complete(self) -> bool:
        """Whether the search is finished."""
        return self.search.next_cell(self.known) is None

    def table(self) -> Table:
        """The table for a terminal."""
        table = Table(box=None, pad_edge=False)
        for heading in _HEADINGS:
            table.add_column(heading)
        for row in self._rows():
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """The report as Markdown."""
        lines = ["| " + " | ".join(_HEADINGS) + " |", "|" + "---|" * len(_HEADINGS)]
        lines += ["| " + " | ".join(row) + " |" for row in self._rows()]
        return "\n".join([*lines, "", self.description()]) + "\n"

    def json(self) -> dict[str, Any]:
        """The report as JSON, from which a search can resume."""
        return {
            "settings": dict(self.settings),
            "objective_p99_ms": self.objective_p99_ms,
            "lost_share": self.lost_share,
            "complete": self.is_complete,
            "carried": {
                str(objects): self.search.carried(objects, self.known)
                for objects in self.search.objects
            },
            "cells": [
                {**asdict(result), "carried": self.is_carried(result)}
                for _, result in sorted(self.results.items())
            ],
        }

    def description(self) -> str:
        """The settings and the machine in a sentence or two."""
        settings = self.settings
        said = (
            f"{settings['model']} on {settings['device']}, {settings['width']}x"
            f"{settings['height']} at {settings['rate_hz']:g} frames/s a stream, "
            f"{settings['cell_s']:g} s a cell; carried: p99 from capture to a ZeroMQ consumer of "
            f"masks at most {self.objective_p99_ms:g} ms, at most {self.lost_share:.1%} of the "
            f"frames not tracked. {settings['machine']}."
        )
        if settings["paths"]:
            paths = "; ".join(settings["paths"])
            said += f" {paths[0].upper()}{paths[1:]}."
        if settings["overrides"]:
            said += f" Settings: {' '.join(settings['overrides'])}."
        return said if self.is_complete else f"{said} Not complete: run it again to go on."

    def save_plot(self, path: Path) -> None:
        """Plot the cells over both axes, and the boundary of those that are carried."""
        figure_of = _matplotlib_figure()
        figure = figure_of(figsize=(7, 4.5), layout="constrained")
        axes = figure.subplots()
        known = self.known
        for is_good, colour, mark, name in (
            (True, "#2a9d4a", "o", "carried"),
            (False, "#c0392b", "x", "not carried"),
        ):
            cells = [cell for cell, good in known.items() if good == is_good]
            axes.scatter(
                [cell.objects for cell in cells],
                [cell.streams for cell in cells],
                color=colour,
                marker=mark,
                label=name,
                zorder=3,
            )
        for cell, result in self.results.items():
            axes.annotate(
                self._caption(result),
                (cell.objects, cell.streams),
                xytext=(4, 4),
                textcoords="offset points",
                fontsize=7,
            )
        carried = [self.search.carried(objects, known) for objects in self.search.objects]
        # In steps: a cell that is carried is carried with fewer objects; nothing lies in between.
        axes.plot(self.search.objects, carried, color="#2a9d4a", zorder=2, drawstyle="steps-pre")
        axes.set_xscale("log", base=2)
        axes.set_xticks(self.search.objects, [str(each) for each in self.search.objects])
        axes.margins(x=0.2, y=0.12)  # room for the labels of the last ones
        axes.set_ylim(bottom=0)
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("objects a stream")
        axes.set_ylabel("streams")
        axes.set_title(
            f"{self.settings['model']} on {self.settings['device']}, {self.settings['width']}x"
            f"{self.settings['height']} at {self.settings['rate_hz']:g} frames/s: p99 of each "
            f"cell, objective {self.objective_p99_ms:g} ms\n{self.settings['machine']}",
            fontsize=8,
        )
        if known:
            axes.legend()
        figure.savefig(path, dpi=120)

    def _caption(self, result: CellResult) -> str:
        """A cell's p99, and its lost frames where they are too many."""
        late = f"{result.latency_p99_ms:.0f} ms"
        return (
            f"{late}, {result.lost_share:.0%} lost" if result.lost_share > self.lost_share else late
        )

    def _rows(self) -> Sequence[tuple[str, ...]]:
        known = self.known
        return [self._row(objects, known) for objects in self.search.objects]

    def _row(self, objects: int, known: Mapping[Cell, bool]) -> tuple[str, ...]:
        streams = self.search.carried(objects, known)
        found = self.search.is_found(objects, known)
        at_least = not found or self.search.is_limited(objects, known)
        carried = f"≥ {streams}" if at_least else str(streams)
        if not found and not streams:
            carried = "?"
        best = self.results.get(Cell(objects, streams))
        cells = ("-", "-", "-")
        if best is not None:
            cells = (
                f"{best.latency_p50_ms:.0f} / {best.latency_p99_ms:.0f} ms",
                f"{best.step_p50_ms:.1f} / {best.step_p99_ms:.1f} ms",
                f"{best.frames_per_s:.0f}",
            )
        return (str(objects), carried, *cells, self._beyond(objects, streams))

    def _beyond(self, objects: int, streams: int) -> str:
        """Why no more streams: the smallest cell of these objects that was not carried."""
        refused = [
            result
            for cell, result in sorted(self.results.items())
            if cell.objects == objects and cell.streams > streams and not self.is_carried(result)
        ]
        if not refused:
            return "-"
        first = refused[0]
        return (
            f"{first.streams}: p99 {first.latency_p99_ms:.0f} ms, {first.lost_share:.0%} lost, "
            f"{first.frames_per_s:.0f} frames/s"
        )


def check_plots() -> None:
    """Raise ``MaskletError`` if no plot can be drawn, before an hour of measuring."""
    _matplotlib_figure()


def _matplotlib_figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MaskletError(
            "the plot needs matplotlib: pip install 'masklet[evaluation]', or give --no-plot"
        ) from error
    return Figure


def describe_machine(threads: int) -> str:
    """Processor, usable cores, ``threads`` of the model, and the relevant versions."""
    import torch

    gpu = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return (
        f"{processor_name()}, {core_count()} cores{gpu}, torch {torch.__version__} on "
        f"{threads} threads, Python {platform.python_version()}"
    )
