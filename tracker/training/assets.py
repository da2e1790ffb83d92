"""Pictures that clips are made of: cut-outs with an alpha channel, and backgrounds.

Read from folders or tar files: RGBA images are cut-outs; a tar or folder with ``images/`` and
``instances/`` (PNG value = instance) gives cut-outs and backgrounds; video files give
backgrounds. Everything is scaled to one small size and held as uint8 tensors, so that a batch
is gathered with one index. Several views of one object stay together (``views``).
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from tracker.errors import TrackerError

SPRITE_SIZE = 96
BACKGROUND_SIZE = 256
_IMAGE_SUFFIXES = {".png", ".webp", ".jpg", ".jpeg"}
_VIDEO_SUFFIXES = {".mp4", ".mkv", ".mov", ".webm", ".avi"}
_SMALLEST_INSTANCE_PIXELS = 48 * 48
_SECONDS_BETWEEN_VIDEO_FRAMES = 0.5

Image8 = npt.NDArray[np.uint8]


class AssetError(TrackerError):
    """The data folder holds nothing to train on."""


@dataclass(frozen=True, slots=True)
class Assets:
    """Cut-outs S x 4 x 96 x 96 and backgrounds P x 3 x 256 x 256, uint8 RGB(A).

    ``views[i]`` is the (first index, count) of the i-th object among the cut-outs; ``groups``
    holds, for each source that was read, the range of its objects, so that a small source can
    be drawn as often as a large one.
    """

    sprites: Tensor
    views: tuple[tuple[int, int], ...]
    groups: tuple[tuple[int, int], ...]
    backgrounds: Tensor

    def to(self, device: torch.device) -> Assets:
        """The same pictures on a device."""
        return Assets(self.sprites.to(device), self.views, self.groups, self.backgrounds.to(device))


def load_assets(data: Path | None) -> Assets:
    """Everything usable below a folder (recursive; ``eval`` folders are never opened).

    None gives no pictures at all: clips are then made of procedural textures only. Raises
    AssetError when the folder does not exist.
    """
    sprites: list[Image8] = []
    views: list[tuple[int, int]] = []
    groups: list[tuple[int, int]] = []
    backgrounds: list[Image8] = []
    if data is not None:
        if not data.is_dir():
            raise AssetError(f"{data} is not a folder; give the folder that holds the pictures")
        for source in _sources(data):
            first = len(views)
            for name, cut_outs, photo in _read(source):
                if cut_outs:
                    views.append((len(sprites), len(cut_outs)))
                    sprites.extend(cut_outs)
                if photo is not None:
                    backgrounds.append(photo)
                del name
            if len(views) > first:
                groups.append((first, len(views)))
    return Assets(
        _stack(sprites, (4, SPRITE_SIZE, SPRITE_SIZE)),
        tuple(views),
        tuple(groups),
        _stack(backgrounds, (3, BACKGROUND_SIZE, BACKGROUND_SIZE)),
    )


def _stack(images: list[Image8], shape: tuple[int, int, int]) -> Tensor:
    if not images:
        return torch.zeros((0, *shape), dtype=torch.uint8)
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


def _sources(data: Path) -> Iterator[Path]:
    """Tar files, videos, and folders that directly hold images, in name order."""
    for path in sorted(data.rglob("*")):
        parts = path.relative_to(data).parts
        if "eval" in parts:
            continue
        if path.is_dir():
            inside = {child.suffix.lower() for child in path.iterdir() if child.is_file()}
            if (inside & _IMAGE_SUFFIXES and path.name not in ("images", "instances")) or (
                (path / "images").is_dir() and (path / "instances").is_dir()
            ):
                yield path
        elif path.suffix.lower() == ".tar" or path.suffix.lower() in _VIDEO_SUFFIXES:
            yield path


def _read(source: Path) -> Iterator[tuple[str, list[Image8], Image8 | None]]:
    """(name, views of one cut-out, background) for every thing in a source."""
    if source.suffix.lower() in _VIDEO_SUFFIXES:
        yield from (("", [], frame) for frame in _video_backgrounds(source))
        return
    files = dict(_files(source))
    turning: dict[str, list[Image8]] = {}
    for name in sorted(files):
        if "instances/" in name:
            continue
        image = Image.open(io.BytesIO(files[name]))
        if "images/" in name:
            photo = np.asarray(image.convert("RGB"))
            stem = Path(name).stem
            instances = files.get(name.replace("images/", "instances/").rsplit(".", 1)[0] + ".png")
            if instances is not None:
                identity = np.asarray(Image.open(io.BytesIO(instances)))
                for index, cut_out in enumerate(_instances(photo, identity)):
                    yield f"{stem}-{index}", [cut_out], None
            yield stem, [], _cover(photo)
        elif image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            cut_out = _fit(np.asarray(image.convert("RGBA")))
            folder = str(Path(name).parent)
            if folder == ".":
                yield name, [cut_out], None
            else:
                turning.setdefault(folder, []).append(cut_out)
        else:
            yield name, [], _cover(np.asarray(image.convert("RGB")))
    for folder, cut_outs in turning.items():
        yield folder, cut_outs, None


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.suffix.lower() in _IMAGE_SUFFIXES:
                yield str(path.relative_to(source)), path.read_bytes()
        return
    with tarfile.open(source) as archive:
        for member in archive:
            stream = archive.extractfile(member) if member.isfile() else None
            if stream is not None and Path(member.name).suffix.lower() in _IMAGE_SUFFIXES:
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
    """The cut-out's opaque part, largest that fits the square with its aspect kept."""
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


def _cover(rgb: Image8) -> Image8:
    """The centre square of a photograph, at the background size."""
    height, width = rgb.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = rgb[top : top + side, left : left + side]
    resized = cv2.resize(square, (BACKGROUND_SIZE, BACKGROUND_SIZE), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.uint8)


def _video_backgrounds(path: Path) -> Iterator[Image8]:
    capture = cv2.VideoCapture(str(path))
    rate_hz = capture.get(cv2.CAP_PROP_FPS) or 25.0
    every = max(1, round(rate_hz * _SECONDS_BETWEEN_VIDEO_FRAMES))
    index = 0
    while capture.grab():
        if index % every == 0:
            read, bgr = capture.retrieve()
            if read:
                yield _cover(np.asarray(bgr[..., ::-1], dtype=np.uint8))
        index += 1
    capture.release()
