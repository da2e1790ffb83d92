"""MOT challenge: NAME/img1, NAME/gt/gt.txt, NAME/det/det.txt and NAME/seqinfo.ini.

A line of gt.txt: frame, id, left, top, width, height, whether it counts, class, visibility; frames
and pixels are numbered from 1. Pedestrians (class 1) that count are tracked, each from the first
frame that shows half of it: the box of a hidden one would select the person in front. MOT15 has
world coordinates instead of class and visibility (10 columns).
"""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tracker.evaluation.box_measures import box_overlap
from tracker.evaluation.clips import BoxXyxy, ClipFrame, EvaluationClip
from tracker.evaluation.readers.listing import Listed, folder, longest
from tracker.evaluation.readers.pictures import load_picture, picture_files

PEDESTRIAN = 1
MOT15_COLUMNS = 10
NO_CLASS = NOT_KNOWN = -1  # in other datasets of this layout
SHOWN = 0.5  # of an object, on the frame of its prompt
DETECTED_OVERLAP = 0.5

Boxes = dict[int, dict[int, BoxXyxy]]
"""By frame (from 0 on), by object id."""


def mot_sequences(root: Path, max_objects: int, *, from_detections: bool = False) -> list[Listed]:
    """The sequences under ``root``, its train folder, or ``root`` itself.

    Of each, the ``max_objects`` with the most frames are tracked. ``from_detections``: each starts
    with a box of det.txt, on the first frame with a matching one. Raises FileNotFoundError.
    """
    folder(root, "the sequences")
    truths = sorted(path for depth in ("", "*/", "*/*/") for path in root.glob(f"{depth}gt/gt.txt"))
    if not truths:
        raise FileNotFoundError(f"{root}: expected NAME/gt/gt.txt and NAME/img1")
    return [
        Listed(
            path.parent.parent.name,
            "mot",
            lambda path=path: _clip(path.parent.parent, max_objects, from_detections),  # type: ignore[misc]
        )
        for path in truths
    ]


@dataclass(frozen=True, slots=True)
class _Frames:
    pictures: tuple[Path, ...]
    truth: Boxes
    object_ids: tuple[int, ...]
    prompts: Boxes

    def __call__(self) -> Iterator[ClipFrame]:
        for index, path in enumerate(self.pictures):
            here = self.truth.get(index, {})
            yield ClipFrame(
                load_picture(path),
                {},
                boxes={key: here.get(key) for key in self.object_ids},
                prompt_boxes=self.prompts.get(index, {}),
            )


def _clip(sequence: Path, max_objects: int, from_detections: bool) -> EvaluationClip:
    truth: Boxes = {}
    shown: Boxes = {}
    counts: dict[int, int] = {}
    for values in _lines(sequence / "gt" / "gt.txt", 6):
        counts_here = len(values) < 7 or values[6] != 0
        kind, visibility = PEDESTRIAN, 1.0
        if 7 < len(values) < MOT15_COLUMNS:
            kind = PEDESTRIAN if values[7] == NO_CLASS else int(values[7])
            visibility = values[8] if len(values) > 8 else 1.0
        if counts_here and kind == PEDESTRIAN:
            frame, object_id = int(values[0]) - 1, int(values[1])
            truth.setdefault(frame, {})[object_id] = _box(values)
            if visibility >= SHOWN or visibility == NOT_KNOWN:
                shown.setdefault(frame, {})[object_id] = truth[frame][object_id]
            counts[object_id] = counts.get(object_id, 0) + 1
    object_ids = longest(counts, max_objects)
    if not object_ids:
        raise ValueError(f"{sequence / 'gt' / 'gt.txt'}: no pedestrian that counts")
    images, rate_hz = _information(sequence)
    pictures = picture_files(folder(images, "the pictures of the sequence"))
    if max(truth) >= len(pictures):
        raise ValueError(
            f"{sequence / 'gt' / 'gt.txt'}: names frame {max(truth) + 1}, but {images} holds "
            f"{len(pictures)} pictures"
        )
    prompts = shown
    if from_detections:
        prompts = _fitting(sequence / "det" / "det.txt", shown, object_ids)
    return EvaluationClip(
        name=sequence.name,
        category="mot",
        object_ids=object_ids,
        frame_count=len(pictures),
        open=_Frames(tuple(pictures), truth, object_ids, prompts),
        rate_hz=rate_hz,
        annotation="boxes",
    )


def _fitting(path: Path, truth: Boxes, object_ids: tuple[int, ...]) -> Boxes:
    """For each object its best matching detection, on each frame that has one."""
    detected: dict[int, list[BoxXyxy]] = {}
    for values in _lines(path, 6):
        detected.setdefault(int(values[0]) - 1, []).append(_box(values))
    result: Boxes = {}
    for frame, boxes in detected.items():
        for object_id in object_ids:
            own = truth.get(frame, {}).get(object_id)
            if own is None:
                continue
            best = max(boxes, key=lambda box, own=own: box_overlap(box, own))  # type: ignore[misc]
            if box_overlap(best, own) >= DETECTED_OVERLAP:
                result.setdefault(frame, {})[object_id] = best
    return result


def _information(sequence: Path) -> tuple[Path, float]:
    """The folder of pictures and the frame rate, from seqinfo.ini if it is there."""
    path = sequence / "seqinfo.ini"
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read(path)
        directory = parser.get("Sequence", "imDir", fallback="img1")
        rate_hz = parser.getfloat("Sequence", "frameRate", fallback=25.0)
    except (configparser.Error, ValueError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error
    if not 0 < rate_hz < 10_000:
        raise ValueError(f"{path}: frameRate must be above 0, got {rate_hz:g}")
    return sequence / directory, rate_hz


def _lines(path: Path, fewest: int) -> Iterator[list[float]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: expected there; see --help for the layout")
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            values = [float(word) for word in line.split(",")]
        except ValueError:
            values = []
        if len(values) < fewest:
            raise ValueError(
                f"{path}, line {number}: expected frame,id,left,top,width,height,..., "
                f"got {line[:60]!r}"
            )
        yield values


def _box(values: list[float]) -> BoxXyxy:
    left, top = values[2] - 1, values[3] - 1
    return (left, top, left + values[4], top + values[5])
