"""The progress of a download: a bar on a terminal, lines in a log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from streamer.cli.checkpoints.download import ProgressReport


@contextmanager
def download_progress(label: str) -> Iterator[ProgressReport]:
    """A bar on stderr if that is a terminal, otherwise a line for each tenth."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _PlainProgress(label, console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(label, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


class _PlainProgress:
    """A line for each tenth of the size, for logs."""

    def __init__(self, label: str, console: Console) -> None:
        self._label = label
        self._console = console
        self._tenths = 0

    def __call__(self, done: int, total: int) -> None:
        tenths = 10 * done // max(total, 1)
        if tenths < self._tenths:
            self._tenths = tenths
        elif tenths > self._tenths:
            self._tenths = tenths
            self._console.print(f"{self._label}: {done / 1e6:.1f} of {total / 1e6:.1f} MB")
