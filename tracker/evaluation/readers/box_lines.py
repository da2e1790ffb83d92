"""Boxes from lines of ground truth: rectangles, polygons and run-length masks."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tracker.evaluation.clips import BoxXyxy

_BETWEEN = re.compile(r"[,;\s]+")


def read_boxes(path: Path, origin: float = 0.0) -> list[BoxXyxy | None]:
    """One box per line, None if the object is out of sight; ``origin``: number of the first pixel.

    A line contains left, top, width, height; or the corners of a polygon (8 numbers or more); or
    "m" and a mask of VOT: its rectangle, then alternating runs of pixels outside and inside, row by
    row; or one number, VOT's code for no region. Separators are commas, blanks or tabs. A box
    without area or with NaN counts as none. Raises ValueError, with the line, for anything else.
    """
    boxes: list[BoxXyxy | None] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            boxes.append(box_of(line, origin))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: {error}") from error
    if not boxes:
        raise ValueError(f"{path}: no line inside; expected a box on each")
    return boxes


def box_of(line: str, origin: float = 0.0) -> BoxXyxy | None:
    """The box of one line; see ``read_boxes``."""
    text = line.strip()
    is_mask = text.startswith("m")
    words = [word for word in _BETWEEN.split(text.removeprefix("m")) if word]
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) == 1:
        return None
    if is_mask and len(values) >= 4:
        return _box_of_runs(values[:4], values[4:])
    if len(values) == 4:
        left, top, width, height = values
        box = (left - origin, top - origin, left - origin + width, top - origin + height)
    elif len(values) >= 6 and len(values) % 2 == 0:
        across = [value - origin for value in values[0::2]]
        down = [value - origin for value in values[1::2]]
        box = (min(across), min(down), max(across), max(down))
    else:
        raise ValueError(
            f"expected left, top, width, height or the corners of a polygon, got {text[:60]!r}"
        )
    usable = all(math.isfinite(value) for value in box) and box[2] > box[0] and box[3] > box[1]
    return box if usable else None


def _box_of_runs(rectangle: Sequence[float], runs: Sequence[float]) -> BoxXyxy | None:
    """The box of a mask, whose stored rectangle may be larger."""
    left, top, width, height = (int(value) for value in rectangle)
    ends = np.cumsum(np.asarray(runs, dtype=np.int64))
    if width < 1 or height < 1 or (len(ends) and ends[-1] > width * height):
        raise ValueError(f"expected runs of {width}x{height} pixels, got {sum(runs):g} of them")
    begins, ends = ends[0::2][: len(ends) // 2], ends[1::2]
    begins, ends = begins[ends > begins], ends[ends > begins]
    if not len(begins):
        return None
    # A run that continues in the next row touches both sides of the rectangle.
    broken = bool(np.any(begins // width != (ends - 1) // width))
    first = 0 if broken else int((begins % width).min())
    last = width if broken else int(((ends - 1) % width).max()) + 1
    return (
        float(left + first),
        float(top + begins[0] // width),
        float(left + last),
        float(top + (ends[-1] - 1) // width + 1),
    )


def read_flags(path: Path) -> list[bool]:
    """LaSOT's full_occlusion.txt and out_of_view.txt: 0 or 1, separated by commas or lines."""
    words = [word for word in _BETWEEN.split(path.read_text()) if word]
    if not set(words) <= {"0", "1"}:
        raise ValueError(f"{path}: expected 0 and 1 only, a flag for each frame")
    return [word == "1" for word in words]
