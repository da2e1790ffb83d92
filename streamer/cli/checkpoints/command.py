"""``masklet checkpoints list | pull NAME | verify FILE``: Meta's official files, and detectors'."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from streamer.cli.checkpoints.download import ProgressReport, download, file_sha256
from streamer.config.published_detectors import PUBLISHED_DETECTORS, PublishedDetector
from streamer.errors import MaskletError
from tracker.config import PRESETS
from tracker.weights.official import OFFICIAL_CHECKPOINTS, OfficialCheckpoint, checkpoint_directory

Registry = Mapping[str, OfficialCheckpoint]
_EMBEDDED = tuple(name for name in PRESETS if name not in OFFICIAL_CHECKPOINTS)
_MIB = 1 << 20
_SIZE_ROUNDED_MIB = 0.01


def list_checkpoints(console: Console, registry: Registry = OFFICIAL_CHECKPOINTS) -> int:
    """Print every published file, its size and its path if it is here. Exit code 0."""
    directory = checkpoint_directory()
    table = Table(box=None, pad_edge=False)
    table.add_column("name")
    table.add_column("MB", justify="right")
    table.add_column("here")
    for name in _EMBEDDED:
        table.add_row(name, "", "embedded")
    for checkpoint in registry.values():
        path = directory / checkpoint.file_name
        table.add_row(
            checkpoint.name,
            f"{checkpoint.size_bytes / 1e6:.0f}",
            str(path) if _is_complete(path, checkpoint) else "-",
        )
    for detector in PUBLISHED_DETECTORS.values():
        here = str(detector.path) if detector.path.is_file() else "-"
        table.add_row(detector.name, f"{detector.size_mib * _MIB / 1e6:.0f}", here)
    console.print(table, soft_wrap=True)
    return 0


def pull(name: str, console: Console, registry: Registry = OFFICIAL_CHECKPOINTS) -> int:
    """Download one official file into ``checkpoint_directory()``. Exit code 0.

    Raises ``MaskletError`` for an unknown name and ``DownloadError`` if the download fails.
    """
    checkpoint = registry.get(name.removesuffix(".pt"))
    if checkpoint is None and name in PUBLISHED_DETECTORS:
        return pull_detector(PUBLISHED_DETECTORS[name], console)
    if checkpoint is None:
        known = ", ".join((*registry, *PUBLISHED_DETECTORS))
        raise MaskletError(f"no official checkpoint {name!r}; there are {known}")
    target = checkpoint_directory() / checkpoint.file_name
    with _progress(checkpoint.name) as report:
        if _is_complete(target, checkpoint) and file_sha256(target, report) == checkpoint.sha256:
            console.print(f"already here and intact: {target}", soft_wrap=True)
            return 0
        download(checkpoint.url, target, checkpoint.size_bytes, checkpoint.sha256, report)
    console.print(f"{target}\nuse it: masklet run model={checkpoint.name} …", soft_wrap=True)
    return 0


def pull_detector(detector: PublishedDetector, console: Console) -> int:
    """Download the weights of a detector that starts objects. Exit code 0.

    Only the first digits of its sha256 are published and checked.
    """
    target = detector.path
    with _progress(detector.name) as report:
        if target.is_file() and file_sha256(target, report).startswith(detector.sha256_prefix):
            console.print(f"already here: {target}", soft_wrap=True)
            return 0
        most = round((detector.size_mib + _SIZE_ROUNDED_MIB) * _MIB)
        prefix = detector.sha256_prefix
        download(detector.url, target, most, prefix, report, exact=False)
    console.print(
        f"{target}\n(sha256 begins with {prefix}; torchvision publishes no more of it)\n"
        f"use it: masklet run starter=torchvision starter.model={detector.name} …",
        soft_wrap=True,
    )
    return 0


def verify(file: str, console: Console, registry: Registry = OFFICIAL_CHECKPOINTS) -> int:
    """Print which official file this is. Exit code 0, or 1 if it is none."""
    path = Path(file)
    try:
        with _progress(path.name) as report:
            digest = file_sha256(path, report)
    except OSError as error:
        raise MaskletError(f"cannot read {path}: {error.strerror}") from None
    for checkpoint in registry.values():
        if checkpoint.sha256 == digest:
            console.print(f"{path}: {checkpoint.name}, exactly as published", soft_wrap=True)
            return 0
    expected = registry.get(path.stem)
    size = path.stat().st_size
    if expected is None:
        console.print(f"{path}: none of the official files (sha256 {digest})", soft_wrap=True)
    elif size != expected.size_bytes:
        console.print(
            f"{path}: not {expected.name}: {size} bytes, the published file has "
            f"{expected.size_bytes}; download it again: masklet checkpoints pull {expected.name}",
            soft_wrap=True,
        )
    else:
        console.print(
            f"{path}: not {expected.name}: sha256 {digest}, the published file has "
            f"{expected.sha256}; download it again: masklet checkpoints pull {expected.name}",
            soft_wrap=True,
        )
    return 1


def _is_complete(path: Path, checkpoint: OfficialCheckpoint) -> bool:
    return path.is_file() and path.stat().st_size == checkpoint.size_bytes


@contextmanager
def _progress(label: str) -> Iterator[ProgressReport]:
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
