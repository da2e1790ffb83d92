"""Pictures for composed clips: cut-outs with an alpha channel, and backgrounds.

Read from folders or tar files: RGBA images are cut-outs; a tar or folder with ``images/`` and
``instances/`` (PNG value = instance) gives cut-outs, and backgrounds with known objects; video
files give moving backgrounds. Everything is scaled to one small size and kept as uint8 tensors, so
that a batch is gathered with one index. The views of one object stay together (``views``), as do
the frames of one video (``videos``). Of large sources of photographs every 16th is left out, to
judge by (``kept_apart``).
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from tracker.errors import TrackerError
from tracker.evaluation.readers.photographs import kept_apart

SPRITE_SIZE = 128
BACKGROUND_SIZE = 320
IMAGE_SUFFIXES = {".png", ".webp", ".jpg", ".jpeg"}
VIDEO_SUFFIXES = {".mp4", ".mkv", ".mov", ".webm", ".avi"}
_SMALLEST_INSTANCE_PIXELS = 48 * 48
_SECONDS_BETWEEN_VIDEO_FRAMES = 0.08
_MOST_VIDEO_FRAMES = 400
"""Of one file: 120 MB. The rest of a longer video is not read."""

Image8 = npt.NDArray[np.uint8]


class AssetError(TrackerError):
    """The data folder contains nothing to train on."""


@dataclass(frozen=True, slots=True)
class Assets:
    """Cut-outs S x 4 x 128 x 128 and backgrounds P x 3 x 320 x 320, uint8 RGB(A).

    ``views[i]``: (first index, count) of the i-th object among the cut-outs. ``groups``: the range
    of objects of each source. ``videos``: (first index, count) of each video among the backgrounds.
    ``instances`` (Q x 320 x 320, uint8, 0 is background): the objects in the photographs
    ``photographs[q]``, which are indexes of backgrounds; ``photograph_groups``: the range of these
    of each source.
    """

    sprites: Tensor
    views: tuple[tuple[int, int], ...]
    groups: tuple[tuple[int, int], ...]
    backgrounds: Tensor
    videos: tuple[tuple[int, int], ...] = ()
    photographs: tuple[int, ...] = ()
    photograph_groups: tuple[tuple[int, int], ...] = ()
    instances: Tensor = field(
        default_factory=lambda: _stack([], (BACKGROUND_SIZE, BACKGROUND_SIZE))
    )

    def to(self, device: torch.device) -> Assets:
        """The same pictures on a device."""
        return replace(
            self,
            sprites=self.sprites.to(device),
            backgrounds=self.backgrounds.to(device),
            instances=self.instances.to(device),
        )


@dataclass(frozen=True, slots=True)
class _Thing:
    """One item of a source: views of a cut-out, or a background with or without its objects."""

    name: str
    cut_outs: tuple[Image8, ...] = ()
    background: Image8 | None = None
    instances: Image8 | None = None


def load_assets(data: Path | None) -> Assets:
    """Everything usable below a folder (recursive; ``eval`` folders are never opened).

    None gives no pictures: clips are then made of procedural textures only. Raises AssetError if
    the folder does not exist.
    """
    sprites: list[Image8] = []
    views: list[tuple[int, int]] = []
    groups: list[tuple[int, int]] = []
    backgrounds: list[Image8] = []
    videos: list[tuple[int, int]] = []
    photographs: list[int] = []
    photograph_groups: list[tuple[int, int]] = []
    instances: list[Image8] = []
    if data is not None:
        if not data.is_dir():
            raise AssetError(f"{data} is not a folder; give the folder of the pictures")
        for source in _sources(data):
            first, first_background = len(views), len(backgrounds)
            first_photograph = len(photographs)
            for thing in _read(source):
                if thing.cut_outs:
                    views.append((len(sprites), len(thing.cut_outs)))
                    sprites.extend(thing.cut_outs)
                if thing.instances is not None:
                    photographs.append(len(backgrounds))
                    instances.append(thing.instances)
                if thing.background is not None:
                    backgrounds.append(thing.background)
            if len(views) > first:
                groups.append((first, len(views)))
            if len(photographs) > first_photograph:
                photograph_groups.append((first_photograph, len(photographs)))
            if _is_video(source) and len(backgrounds) > first_background:
                videos.append((first_background, len(backgrounds) - first_background))
    return Assets(
        _stack(sprites, (4, SPRITE_SIZE, SPRITE_SIZE)),
        tuple(views),
        tuple(groups),
        _stack(backgrounds, (3, BACKGROUND_SIZE, BACKGROUND_SIZE)),
        tuple(videos),
        tuple(photographs),
        tuple(photograph_groups),
        _stack(instances, (BACKGROUND_SIZE, BACKGROUND_SIZE)),
    )


def _stack(images: list[Image8], shape: tuple[int, ...]) -> Tensor:
    if not images:
        return torch.zeros((0, *shape), dtype=torch.uint8)
    stacked = torch.from_numpy(np.stack(images))
    return stacked.permute(0, 3, 1, 2).contiguous() if stacked.ndim == 4 else stacked


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _sources(data: Path) -> Iterator[Path]:
    """Tar files, videos, and folders that directly contain images, sorted by name."""
    for path in sorted(data.rglob("*")):
        parts = path.relative_to(data).parts
        if "eval" in parts:
            continue
        if path.is_dir():
            inside = {child.suffix.lower() for child in path.iterdir() if child.is_file()}
            if (inside & IMAGE_SUFFIXES and path.name not in ("images", "instances")) or (
                (path / "images").is_dir() and (path / "instances").is_dir()
            ):
                yield path
        elif path.suffix.lower() == ".tar" or _is_video(path):
            yield path


def _read(source: Path) -> Iterator[_Thing]:
    """All items of a source, sorted by name."""
    if _is_video(source):
        yield from (_Thing("", background=frame) for frame in _video_backgrounds(source))
        return
    files = dict(_files(source))
    turning: dict[str, list[Image8]] = {}
    judged = kept_apart([name for name in files if "images/" in name])
    for name in sorted(files):
        if "instances/" in name or name in judged:
            continue
        image = Image.open(io.BytesIO(files[name]))
        if "images/" in name:
            photo = np.asarray(image.convert("RGB"))
            stem = Path(name).stem
            content = files.get(name.replace("images/", "instances/").rsplit(".", 1)[0] + ".png")
            small: Image8 | None = None
            if content is not None:
                identity = np.asarray(Image.open(io.BytesIO(content)))
                for index, cut_out in enumerate(_instances(photo, identity)):
                    yield _Thing(f"{stem}-{index}", (cut_out,))
                small = _cover(identity.astype(np.uint8), cv2.INTER_NEAREST)
            yield _Thing(stem, background=_cover(photo), instances=small)
        elif image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            cut_out = _fit(np.asarray(image.convert("RGBA")))
            folder = str(Path(name).parent)
            if folder == ".":
                yield _Thing(name, (cut_out,))
            else:
                turning.setdefault(folder, []).append(cut_out)
        else:
            yield _Thing(name, background=_cover(np.asarray(image.convert("RGB"))))
    for folder, cut_outs in turning.items():
        yield _Thing(folder, tuple(cut_outs))


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                yield str(path.relative_to(source)), path.read_bytes()
        return
    with tarfile.open(source) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() else None
            if stream is not None and Path(member.name).suffix.lower() in IMAGE_SUFFIXES:
                yield member.name, stream.read()


def _instances(photo: Image8, identity: npt.NDArray[np.integer]) -> Iterator[Image8]:
    """Cut-outs of the larger instances of one photograph."""
    for value in np.unique(identity):
        mask = identity == value
        if value == 0 or mask.sum() < _SMALLEST_INSTANCE_PIXELS:
            continue
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        window = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        alpha = (mask[window] * 255).astype(np.uint8)
        yield _fit(np.dstack([photo[window], alpha]))


def _fit(rgba: Image8) -> Image8:
    """The cut-out's opaque part, scaled to fit the square with its aspect ratio."""
    rows = np.flatnonzero((rgba[..., 3] > 127).any(1))
    columns = np.flatnonzero((rgba[..., 3] > 127).any(0))
    if rows.size and columns.size:
        rgba = rgba[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = rgba.shape[:2]
    inner = SPRITE_SIZE - 4
    scale = inner / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = cv2.resize(rgba, size, interpolation=cv2.INTER_AREA if scale < 1 else 1)
    canvas = np.zeros((SPRITE_SIZE, SPRITE_SIZE, 4), dtype=np.uint8)
    top, left = (SPRITE_SIZE - size[1]) // 2, (SPRITE_SIZE - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = resized
    return canvas


def _cover(picture: Image8, interpolation: int = cv2.INTER_AREA) -> Image8:
    """The centre square of a photograph or of its instance map, at the background size."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = np.ascontiguousarray(picture[top : top + side, left : left + side])
    resized = cv2.resize(square, (BACKGROUND_SIZE, BACKGROUND_SIZE), interpolation=interpolation)
    return np.asarray(resized, dtype=np.uint8)


def _video_backgrounds(path: Path) -> Iterator[Image8]:
    capture = cv2.VideoCapture(str(path))
    rate_hz = capture.get(cv2.CAP_PROP_FPS) or 25.0
    every = max(1, round(rate_hz * _SECONDS_BETWEEN_VIDEO_FRAMES))
    index = 0
    while index < every * _MOST_VIDEO_FRAMES and capture.grab():
        if index % every == 0:
            read, bgr = capture.retrieve()
            if read:
                yield _cover(np.asarray(bgr[..., ::-1], dtype=np.uint8))
        index += 1
    capture.release()
