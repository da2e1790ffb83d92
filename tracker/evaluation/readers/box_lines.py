"""Lines of ground truth: rectangles, polygons and run-length masks become boxes."""

from __future__ import annotations

import math
import re
from pathlib import Path

from tracker.evaluation.clips import BoxXyxy

_BETWEEN = re.compile(r"[,;\s]+")


def read_boxes(path: Path, origin: float = 0.0) -> list[BoxXyxy | None]:
    """One box a line, None where the object is out of sight; ``origin`` numbers the first pixel.

    A line holds left, top, width, height; or the corners of a polygon (8 numbers or more); or
    "m" and a mask of VOT, whose rectangle comes first; or one number, VOT's code for no region.
    They are separated by commas, blanks or tabs. A box without area or of NaN is no box. Raises
    ValueError, with the line, for anything else.
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
    if len(values) == 4 or (is_mask and len(values) > 4):
        left, top, width, height = values[:4]
        box = (left - origin, top - origin, left - origin + width, top - origin + height)
    elif len(values) >= 6 and len(values) % 2 == 0 and not is_mask:
        across = [value - origin for value in values[0::2]]
        down = [value - origin for value in values[1::2]]
        box = (min(across), min(down), max(across), max(down))
    else:
        raise ValueError(
            f"expected left, top, width, height or the corners of a polygon, got {text[:60]!r}"
        )
    usable = all(math.isfinite(value) for value in box) and box[2] > box[0] and box[3] > box[1]
    return box if usable else None


def read_flags(path: Path) -> list[bool]:
    """LaSOT's full_occlusion.txt and out_of_view.txt: 0 or 1, separated by commas or lines."""
    words = [word for word in _BETWEEN.split(path.read_text()) if word]
    if not set(words) <= {"0", "1"}:
        raise ValueError(f"{path}: expected 0 and 1 only, a flag for each frame")
    return [word == "1" for word in words]
