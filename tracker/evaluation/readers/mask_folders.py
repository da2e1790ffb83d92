"""JPEGImages/NAME and Annotations/NAME with palette PNGs: DAVIS, YouTube-VOS, MOSE and LVOS.

Objects may appear late, and only some frames may be annotated. Ids come from meta.json if present
({"videos": {NAME: {"objects": {ID: ...}}}}), otherwise from the PNGs. Palette value 255 marks
undecided pixels, which belong to no object.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tracker.evaluation.clips import ClipFrame, EvaluationClip
from tracker.evaluation.readers.listing import Listed, folder, longest
from tracker.evaluation.readers.pictures import load_indexes, load_picture, picture_files

UNDECIDED = 255
DAVIS_SIZES = ("480p", "Full-Resolution", "1080p")
# LVOS is cut to 6 pictures a second; YouTube-VOS numbers those of a video of 30, and the usual
# archives hold every fifth.
RATE_HZ = {"davis": 24.0, "youtube-vos": 30.0, "mose": 30.0, "lvos": 6.0}


def mask_folder_sequences(root: Path, layout: str, max_objects: int) -> list[Listed]:
    """The sequences under ``root`` (or its train, valid, val or test folder), by name.

    DAVIS 2016 differs from 2017 in Annotations whose only value is 255: one object. Raises
    FileNotFoundError or ValueError with what was expected.
    """
    root = _inner(root)
    images = folder(root / "JPEGImages", "a folder of pictures for each sequence")
    annotations = folder(root / "Annotations", "a folder of PNGs for each sequence")
    for size in DAVIS_SIZES:
        if (images / size).is_dir():
            images, annotations = images / size, folder(annotations / size, "the same sequences")
            break
    meta = _meta(root / "meta.json")
    names = sorted(path.name for path in annotations.iterdir() if path.is_dir())
    if not names:
        raise ValueError(f"{annotations}: no sequence inside; expected a folder for each")
    return [
        Listed(
            name,
            layout,
            lambda name=name: _clip(  # type: ignore[misc]
                folder(images / name, "the pictures of an annotated sequence"),
                annotations / name,
                layout,
                meta.get(name),
                max_objects,
            ),
        )
        for name in names
    ]


@dataclass(frozen=True, slots=True)
class _Frames:
    """Opens a sequence; called once for every reading."""

    pictures: tuple[Path, ...]
    maps: dict[str, Path]
    object_ids: tuple[int, ...]
    merged: bool

    def __call__(self) -> Iterator[ClipFrame]:
        for path in self.pictures:
            image = load_picture(path)
            own = self.maps.get(path.stem)
            if own is None:
                yield ClipFrame(image, {})
                continue
            ids = load_indexes(own)
            if ids.shape != image.shape[:2]:
                raise ValueError(
                    f"{own}: {ids.shape[1]}x{ids.shape[0]} pixels, but its picture {path} has "
                    f"{image.shape[1]}x{image.shape[0]}"
                )
            yield ClipFrame(
                image,
                {key: ids > 0 if self.merged else ids == key for key in self.object_ids},
            )


def _clip(
    images: Path, annotations: Path, layout: str, meta: set[int] | None, max_objects: int
) -> EvaluationClip:
    pictures = picture_files(images)
    maps = {path.stem: path for path in sorted(annotations.glob("*.png"))}
    if not maps:
        raise ValueError(f"{annotations}: no PNG inside; expected one for each annotated picture")
    alone = sorted(maps.keys() - {path.stem for path in pictures})
    if alone:
        raise ValueError(f"{maps[alone[0]]}: no picture of that name in {images}")
    counts: dict[int, int] = {}
    for path in maps.values():
        for value in np.unique(load_indexes(path)):
            counts[int(value)] = counts.get(int(value), 0) + 1
    counts.pop(0, None)
    merged = set(counts) == {UNDECIDED}
    if merged:
        object_ids: tuple[int, ...] = (1,)
    else:
        counts.pop(UNDECIDED, None)
        if meta is not None:
            counts = {key: count for key, count in counts.items() if key in meta}
        object_ids = longest(counts, max_objects)
    if not object_ids:
        raise ValueError(f"{annotations}: no object in any PNG; expected values from 1 on")
    return EvaluationClip(
        name=images.name,
        category=layout,
        object_ids=object_ids,
        frame_count=len(pictures),
        open=_Frames(tuple(pictures), maps, object_ids, merged),
        rate_hz=RATE_HZ[layout] / (_step(pictures) if layout == "youtube-vos" else 1),
    )


def _step(pictures: list[Path]) -> int:
    """The difference of neighbouring pictures' numbers; 1 if they have none."""
    numbers = [int(path.stem) for path in pictures if path.stem.isdigit()]
    return min((after - before for before, after in pairwise(numbers)), default=1) or 1


def _inner(root: Path) -> Path:
    if (root / "JPEGImages").is_dir():
        return root
    for split in ("valid", "val", "test", "train"):
        if (root / split / "JPEGImages").is_dir():
            return root / split
    return root


def _meta(path: Path) -> dict[str, set[int]]:
    """The object ids of each sequence; empty without the file."""
    if not path.is_file():
        return {}
    try:
        content: Any = json.loads(path.read_text())
        return {
            name: {int(key) for key in video["objects"]}
            for name, video in content["videos"].items()
        }
    except (AttributeError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f'{path}: expected {{"videos": {{NAME: {{"objects": {{ID: ...}}}}}}}} ({error!r})'
        ) from error
