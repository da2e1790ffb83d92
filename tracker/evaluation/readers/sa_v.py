"""SA-V: val and test as folders, train as videos with JSON.

Val and test: JPEGImages_24fps/NAME/00000.jpg, Annotations_6fps/NAME/OBJECT/00000.png, a PNG for
every fourth frame and each object. Train: NAME.mp4 with NAME_manual.json, whose "masklet" contains
a COCO run-length mask of each object for every fourth frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from pycocotools import mask as coco

from tracker.evaluation.clips import ClipFrame, EvaluationClip
from tracker.evaluation.readers.listing import Listed, folder
from tracker.evaluation.readers.pictures import load_indexes, load_picture, picture_files

RATE_HZ = 24.0
ANNOTATED_EVERY = 4


def sa_v_sequences(root: Path, max_objects: int) -> list[Listed]:
    """The sequences under ``root``. Raises FileNotFoundError or ValueError."""
    described = sorted(root.rglob("*_manual.json")) if root.is_dir() else []
    if described and not (root / "Annotations_6fps").is_dir():
        return [
            Listed(
                path.name.removesuffix("_manual.json"),
                "sa-v",
                lambda path=path: _from_video(path, max_objects),  # type: ignore[misc]
            )
            for path in described
        ]
    images = folder(root / "JPEGImages_24fps", "a folder of pictures for each sequence")
    annotations = folder(root / "Annotations_6fps", "a folder of objects for each sequence")
    return [
        Listed(
            path.name,
            "sa-v",
            lambda path=path: _from_folders(  # type: ignore[misc]
                folder(images / path.name, "the pictures of an annotated sequence"),
                path,
                max_objects,
            ),
        )
        for path in sorted(annotations.iterdir())
        if path.is_dir()
    ]


@dataclass(frozen=True, slots=True)
class _Folders:
    pictures: tuple[Path, ...]
    maps: dict[int, dict[str, Path]]

    def __call__(self) -> Iterator[ClipFrame]:
        for path in self.pictures:
            yield ClipFrame(
                load_picture(path),
                {
                    key: load_indexes(files[path.stem]) > 0
                    for key, files in self.maps.items()
                    if path.stem in files
                },
            )


def _from_folders(images: Path, annotations: Path, max_objects: int) -> EvaluationClip:
    maps: dict[int, dict[str, Path]] = {}
    for own in sorted(path for path in annotations.iterdir() if path.is_dir()):
        # Objects are named 000, 001, ...; the tracker's ids start at 1.
        if not own.name.isdigit():
            raise ValueError(f"{own}: expected a folder for each object, called 000, 001, ...")
        maps[int(own.name) + 1] = {path.stem: path for path in own.glob("*.png")}
    if not maps:
        raise ValueError(f"{annotations}: no object inside; expected folders 000, 001, ...")
    chosen = dict(sorted(maps.items())[:max_objects])
    pictures = picture_files(images)
    return EvaluationClip(
        images.name,
        "sa-v",
        tuple(chosen),
        len(pictures),
        _Folders(tuple(pictures), chosen),
        RATE_HZ,
    )


@dataclass(frozen=True, slots=True)
class _Video:
    video: Path
    masks: tuple[tuple[Any, ...], ...]  # by annotated frame, by object
    object_ids: tuple[int, ...]

    def __call__(self) -> Iterator[ClipFrame]:
        with av.open(str(self.video)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                place, rest = divmod(index, ANNOTATED_EVERY)
                annotated = rest == 0 and place < len(self.masks)
                masks = self.masks[place] if annotated else ()
                yield ClipFrame(
                    np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8),
                    {
                        key: np.asarray(coco.decode(mask), dtype=np.bool_)
                        for key, mask in zip(self.object_ids, masks, strict=False)
                    },
                )


def _from_video(description: Path, max_objects: int) -> EvaluationClip:
    name = description.name.removesuffix("_manual.json")
    video = description.with_name(f"{name}.mp4")
    if not video.is_file():
        raise FileNotFoundError(f"{video}: expected beside {description.name}")
    try:
        content = json.loads(description.read_text())
        masks = tuple(tuple(frame[:max_objects]) for frame in content["masklet"])
        count = int(content["video_frame_count"])
        objects = len(masks[0])
    except (json.JSONDecodeError, KeyError, IndexError, TypeError, ValueError) as error:
        raise ValueError(
            f'{description}: expected "masklet" (by frame, by object) and "video_frame_count" '
            f"({error!r})"
        ) from error
    object_ids = tuple(range(1, objects + 1))
    return EvaluationClip(
        name, "sa-v", object_ids, count, _Video(video, masks, object_ids), RATE_HZ
    )
