"""Writes files whole: a reader never finds a part of one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import cv2
import numpy as np
import numpy.typing as npt

# PNG: the fastest level; the higher ones make masks a third smaller for 3 times the time.
_FAST = [cv2.IMWRITE_PNG_COMPRESSION, 1]


@contextmanager
def whole_file(path: Path) -> Iterator[TextIO]:
    """A text file that takes its place when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("w", encoding="utf-8") as file:
            yield file
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """A small binary file, likewise. Its folder exists."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_grey(path: Path, image: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> None:
    """A grey PNG of 8 or 16 bits."""
    encoded, data = cv2.imencode(".png", image, _FAST)
    assert encoded, "grey pictures are encoded"
    write_bytes(path, data.tobytes())


def write_list(file: TextIO, items: Iterable[Any]) -> None:
    """A JSON list, item by item: only one is in memory."""
    file.write("[")
    for number, item in enumerate(items):
        file.write((",\n" if number else "\n") + json.dumps(item))
    file.write("]")
