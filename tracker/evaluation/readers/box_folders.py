"""Datasets with one object per sequence, annotated with boxes: VOT, LaSOT and OTB."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tracker.evaluation.clips import BoxXyxy, ClipFrame, EvaluationClip
from tracker.evaluation.readers.box_lines import read_boxes, read_flags
from tracker.evaluation.readers.listing import Listed, folder
from tracker.evaluation.readers.pictures import load_picture, picture_files

OBJECT_ID = 1
RATE_HZ = {"vot": 25.0, "lasot": 30.0, "otb": 30.0}
_TRUTH = {"vot": "groundtruth*.txt", "lasot": "groundtruth.txt", "otb": "groundtruth_rect*.txt"}
# Matlab counts pixels from 1.
_ORIGIN = {"vot": 0.0, "lasot": 1.0, "otb": 1.0}
# OTB annotates these from the picture of this number on (its toolkit's list). Before it there are
# other pictures (David) or none (the cars).
_OTB_BEGINS = {"David": 300, "BlurCar1": 247, "BlurCar3": 3, "BlurCar4": 18}


def box_folder_sequences(root: Path, layout: str) -> list[Listed]:
    """The sequences under ``root``, down to two folders deep.

    Raises FileNotFoundError if there is none; ``read`` raises ValueError for inconsistent files.
    """
    folder(root, "the sequences")
    truths = sorted(
        path
        for depth in ("*", "*/*")
        for path in root.glob(f"{depth}/{_TRUTH[layout]}")
        if path.stat().st_size  # OTB's Human4 has a second one without a line
    )
    if not truths:
        raise FileNotFoundError(f"{root}: expected NAME/{_TRUTH[layout]} or CATEGORY/NAME/ of it")
    return [
        Listed(
            _name(path),
            layout,
            lambda path=path: _clip(path, layout),  # type: ignore[misc]
        )
        for path in truths
    ]


@dataclass(frozen=True, slots=True)
class _Frames:
    pictures: tuple[Path, ...]
    boxes: tuple[BoxXyxy | None, ...]

    def __call__(self) -> Iterator[ClipFrame]:
        for path, box in zip(self.pictures, self.boxes, strict=True):
            yield ClipFrame(load_picture(path), {}, boxes={OBJECT_ID: box})


def _clip(truth: Path, layout: str) -> EvaluationClip:
    sequence = truth.parent
    boxes = read_boxes(truth, _ORIGIN[layout])
    if layout == "lasot":
        for flags in ("full_occlusion.txt", "out_of_view.txt"):
            if (sequence / flags).is_file():
                away = read_flags(sequence / flags)
                if len(away) != len(boxes):
                    raise ValueError(
                        f"{sequence / flags}: {len(away)} flags for {len(boxes)} boxes"
                    )
                boxes = [None if gone else box for box, gone in zip(boxes, away, strict=True)]
    pictures = picture_files(_images(sequence))
    if layout == "otb":
        begin = _OTB_BEGINS.get(sequence.name, 0)
        pictures = [path for path in pictures if _number(path) >= begin][: len(boxes)]
    if len(pictures) != len(boxes):
        raise ValueError(
            f"{truth}: {len(boxes)} boxes, but {len(pictures)} pictures in {_images(sequence)}; "
            "expected a line for each picture"
        )
    return EvaluationClip(
        name=_name(truth),
        category=layout,
        object_ids=(OBJECT_ID,),
        frame_count=len(pictures),
        open=_Frames(tuple(pictures), tuple(boxes)),
        rate_hz=_rate_hz(sequence / "sequence", RATE_HZ[layout]),
        annotation="boxes",
    )


def _rate_hz(path: Path, usual: float) -> float:
    """The rate in VOT's properties file (a line "fps=30"), or ``usual``."""
    found = (
        re.search(r"^fps\s*=\s*([\d.]+)\s*$", path.read_text(), re.M) if path.is_file() else None
    )
    stated = float(found[1]) if found else 0.0
    return stated if 0 < stated < 10_000 else usual


def _number(picture: Path) -> int:
    return int(picture.stem) if picture.stem.isdigit() else 0


def _images(sequence: Path) -> Path:
    """The folder of pictures: VOT has color/, the others img/, old VOT none."""
    return next((sequence / own for own in ("color", "img") if (sequence / own).is_dir()), sequence)


def _name(truth: Path) -> str:
    """The folder's name; with the object's number if there are several: Jogging-1."""
    _, _, number = truth.stem.replace("groundtruth_rect", "groundtruth").partition(".")
    number = number or truth.stem.partition("_")[2].replace("rect", "").strip(".")
    return f"{truth.parent.name}-{number}" if number else truth.parent.name
