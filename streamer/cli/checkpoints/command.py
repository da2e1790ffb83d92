"""``masklet checkpoints list | pull NAME | verify FILE``: official files, detectors, the hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from streamer.cli.checkpoints.download import download, file_sha256
from streamer.cli.checkpoints.fetch import fetch_official
from streamer.cli.checkpoints.progress import download_progress
from streamer.config.published_detectors import PUBLISHED_DETECTORS, PublishedDetector
from streamer.errors import MaskletError, StarterError
from streamer.starters.words.load import family_of
from tracker.config import PRESETS
from tracker.weights.hub import (
    CONFIG_FILE,
    cached_official,
    download_model,
    is_hub_name,
    official_name,
)
from tracker.weights.official import OFFICIAL_CHECKPOINTS, OfficialCheckpoint, checkpoint_directory
from tracker.weights.transformers_config import is_sam2

Registry = Mapping[str, OfficialCheckpoint]
_EMBEDDED = tuple(name for name in PRESETS if name not in OFFICIAL_CHECKPOINTS)
_MIB = 1 << 20
_SIZE_ROUNDED_MIB = 0.01


def list_checkpoints(console: Console, registry: Registry = OFFICIAL_CHECKPOINTS) -> int:
    """Print every published file, its size and its path if it is here. Exit code 0."""
    table = Table(box=None, pad_edge=False)
    table.add_column("name")
    table.add_column("MB", justify="right")
    table.add_column("here")
    for name in _EMBEDDED:
        table.add_row(name, "", "embedded")
    for checkpoint in registry.values():
        here = str(_file_here(checkpoint) or "-")
        table.add_row(checkpoint.name, f"{checkpoint.size_bytes / 1e6:.0f}", here)
    for detector in PUBLISHED_DETECTORS.values():
        here = str(detector.path) if detector.path.is_file() else "-"
        table.add_row(detector.name, f"{detector.size_mib * _MIB / 1e6:.0f}", here)
    console.print(table, soft_wrap=True)
    return 0


def pull(name: str, console: Console, registry: Registry = OFFICIAL_CHECKPOINTS) -> int:
    """Download one official file, or a model of the Hugging Face hub. Exit code 0.

    Raises ``MaskletError`` for an unknown name, ``DownloadError`` or ``CheckpointError`` if the
    download fails.
    """
    checkpoint = registry.get(official_name(name) or name.removesuffix(".pt"))
    if checkpoint is not None:
        return _pull_official(checkpoint, console)
    if name in PUBLISHED_DETECTORS:
        return pull_detector(PUBLISHED_DETECTORS[name], console)
    if is_hub_name(name):
        return _pull_from_hub(name, console)
    if name in _EMBEDDED:
        console.print(f"{name} is embedded: there is nothing to download")
        return 0
    known = ", ".join((*registry, *PUBLISHED_DETECTORS))
    raise MaskletError(
        f"no official checkpoint {name!r}; there are {known}, and the models of the Hugging Face "
        "hub, as OWNER/MODEL"
    )


def _pull_official(checkpoint: OfficialCheckpoint, console: Console) -> int:
    with download_progress(checkpoint.name) as report:
        here = _file_here(checkpoint)
        if here is not None and checkpoint.digest_of(here) == checkpoint.digest:
            console.print(f"already here and intact: {here}", soft_wrap=True)
            return 0
        path = fetch_official(
            checkpoint, report, note=lambda text: console.print(text, soft_wrap=True)
        )
    console.print(f"{path}\nuse it: masklet run model={checkpoint.name} …", soft_wrap=True)
    return 0


def _pull_from_hub(name: str, console: Console) -> int:
    """Without ``report``: the hub's own bars, of its many files."""
    folder = download_model(name)
    setting = "model.name="
    if not is_sam2(folder / CONFIG_FILE):
        try:
            family_of(name, folder)
        except StarterError as error:
            raise MaskletError(f"{folder} is of no use here: {error}") from None
        setting = "starter=text starter.model="
    console.print(f"{folder}\nuse it: masklet run {setting}{name} …", soft_wrap=True)
    return 0


def pull_detector(detector: PublishedDetector, console: Console) -> int:
    """Download the weights of a detector that starts objects. Exit code 0.

    Only the first digits of its sha256 are published and checked.
    """
    target = detector.path
    with download_progress(detector.name) as report:
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
        with download_progress(path.name) as report:
            digest = file_sha256(path, report)
    except OSError as error:
        raise MaskletError(f"cannot read {path}: {error.strerror}") from None
    for checkpoint in registry.values():
        if checkpoint.has_size_of(path) and checkpoint.digest_of(path) == checkpoint.digest:
            console.print(f"{path}: {checkpoint.name}, exactly as published", soft_wrap=True)
            return 0
    expected = registry.get(path.stem)
    size = path.stat().st_size
    if expected is None:
        console.print(f"{path}: none of the official files (sha256 {digest})", soft_wrap=True)
    elif not expected.sha256:
        console.print(
            f"{path}: not {expected.name} as published (sha256 {digest}); download it again: "
            f"masklet checkpoints pull {expected.name}",
            soft_wrap=True,
        )
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


def _file_here(checkpoint: OfficialCheckpoint) -> Path | None:
    """The file, complete, in our own folder or the hub's cache."""
    own = checkpoint_directory() / checkpoint.file_name
    if checkpoint.has_size_of(own):
        return own
    return cached_official(checkpoint)
