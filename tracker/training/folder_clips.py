"""Clips from folders of frames and masks, for fine-tuning.

Two layouts: DAVIS's (``JPEGImages/<sequence>/*.jpg`` with ``Annotations/<sequence>/*.png``, also
one resolution folder deeper), and one folder per sequence with ``images/`` and ``masks/``, or
images beside PNG masks of the same stem in ``masks/``. A mask's value is the object, 0 the
background.
Dimensions: T frames, K objects, S image side.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from tracker.training.assets import AssetError
from tracker.training.clip import SMALLEST_FIRST_AREA_PIXELS, ClipBatch
from tracker.training.degrade import degrade
from tracker.training.recipe import Phase

_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_CACHED_FRAMES = 2000


@dataclass(frozen=True, slots=True)
class Sequence:
    """The frames of one video that have a mask, sorted by name."""

    name: str
    frames: tuple[tuple[Path, Path], ...]


def find_sequences(folder: Path) -> list[Sequence]:
    """Sequences with at least one frame and mask. Raises AssetError if there is none."""
    pairs: dict[str, list[tuple[Path, Path]]] = {}
    masks = {path for path in folder.rglob("*.png") if {"Annotations", "masks"} & set(path.parts)}
    by_place: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in _IMAGE_SUFFIXES and path not in masks:
            by_place[_place(path, folder)] = path
    for mask in sorted(masks):
        place = _place(mask, folder)
        if place in by_place:
            pairs.setdefault(place[0], []).append((by_place[place], mask))
    if not pairs:
        raise AssetError(
            f"{folder} has no frame with a mask; it needs JPEGImages/NAME/00000.jpg with "
            "Annotations/NAME/00000.png, or NAME/images/ with NAME/masks/"
        )
    return [Sequence(name, tuple(frames)) for name, frames in sorted(pairs.items())]


def _place(path: Path, folder: Path) -> tuple[str, str]:
    """(sequence, frame) of a file, the same for an image and for its mask."""
    layout = {"JPEGImages", "Annotations", "images", "masks"}
    parts = [part for part in path.relative_to(folder).parent.parts if part not in layout]
    return "/".join(parts), path.stem


class FolderClips:
    """Random clips of the sequences, squashed to squares as in the tracker."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.sequences = find_sequences(folder)
        self.device = device
        # Least recently used frames go first; bounded at _CACHED_FRAMES small frames.
        self._cache: OrderedDict[tuple[Path, int], tuple[Tensor, Tensor]] = OrderedDict()

    def clips(
        self, phase: Phase, motion: float, count: int, generator: torch.Generator
    ) -> ClipBatch:
        """``count`` clips; short sequences play forward and backward."""
        made = [self._clip(phase, motion, generator) for _ in range(count)]
        images = torch.stack([images for images, _ in made])
        masks = torch.stack([masks for _, masks in made])
        return ClipBatch(degrade(images, generator), masks)

    def _clip(
        self, phase: Phase, motion: float, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        def integer(high: int) -> int:
            return int(torch.randint(0, high, (), generator=generator, device=generator.device))

        sequence = self.sequences[integer(len(self.sequences))]
        length = len(sequence.frames)
        start, stride = integer(length), 1 + integer(1 + round(2 * motion))
        mirror = integer(2) == 1
        cycle = max(1, 2 * length - 2)
        places = [(start + stride * frame) % cycle for frame in range(phase.frames)]
        places = [place if place < length else cycle - place for place in places]
        loaded = [self._frame(sequence, place, phase.image_size) for place in places]
        images = torch.stack([image for image, _ in loaded]).float() / 255
        owners = torch.stack([owner for _, owner in loaded])
        if mirror:
            images, owners = images.flip(3), owners.flip(2)
        first = torch.bincount(owners[0].flatten().long(), minlength=256)
        present = [i for i in range(1, 255) if first[i] > SMALLEST_FIRST_AREA_PIXELS]
        order = torch.randperm(len(present), generator=generator, device=generator.device)
        # 255 is "void" in DAVIS, not an object: used as padding if there are too few.
        chosen = [present[int(i)] for i in order[: phase.objects]]
        identity = torch.tensor([*chosen, *[254] * phase.objects][: phase.objects])
        masks = owners.unsqueeze(1) == identity.to(self.device).view(1, -1, 1, 1)
        return images, masks

    def _frame(self, sequence: Sequence, place: int, side: int) -> tuple[Tensor, Tensor]:
        """(3, S, S) and (S, S), uint8."""
        picture, mask = sequence.frames[place]
        key = (picture, side)
        if key not in self._cache:
            rgb = np.asarray(Image.open(picture).convert("RGB"))
            image = cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA)
            owner = cv2.resize(_owners(mask), (side, side), interpolation=cv2.INTER_NEAREST)
            self._cache[key] = (
                torch.from_numpy(image).permute(2, 0, 1).to(self.device),
                torch.from_numpy(owner).to(self.device),
            )
            if len(self._cache) > _CACHED_FRAMES:
                self._cache.popitem(last=False)
        self._cache.move_to_end(key)
        return self._cache[key]


def _owners(path: Path) -> npt.NDArray[np.uint8]:
    """The object of every pixel. Black-and-white masks (0 and 255) contain one object, 1."""
    image = Image.open(path)
    values = np.array(image if image.mode in ("P", "L", "1") else image.convert("L"))
    if values.dtype == np.bool_ or set(np.unique(values)) <= {0, 255}:
        return (values > 0).astype(np.uint8)
    return values.astype(np.uint8)
