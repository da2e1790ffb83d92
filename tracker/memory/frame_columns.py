"""Chooses the memory columns to read and to write, by their frame numbers.

Dimensions: N objects, R or F columns of each; an empty column has the frame ``EMPTY``.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tracker.memory.bank import EMPTY
from tracker.memory.places import IntArray, along_rows

BoolArray = npt.NDArray[np.bool_]

# Larger than any frame number of a stream: sorts by kind first, then by frame.
_KIND = 1 << 60


def newest(frame_NR: IntArray, valid_NR: BoolArray, most: int) -> tuple[IntArray, BoolArray]:
    """Columns of up to ``most`` newest valid frames, newest first, and whether each is valid."""
    key_NR = np.where(valid_NR, -frame_NR, _KIND)
    order_NR = np.argsort(key_NR, axis=1, kind="stable")[:, :most]
    return order_NR, along_rows(valid_NR, order_NR)


def packed(
    column_NF: IntArray, code_NF: IntArray, valid_NF: BoolArray
) -> tuple[IntArray, IntArray, BoolArray]:
    """Valid entries first, cut to the width of the fullest row; codes of invalid ones are 0."""
    longest = int(valid_NF.sum(axis=1).max())
    order = np.argsort(~valid_NF, axis=1, kind="stable")[:, :longest]
    valid_NF = along_rows(valid_NF, order)
    code_NF = np.where(valid_NF, along_rows(code_NF, order), 0)
    return along_rows(column_NF, order), code_NF, valid_NF


def place_for(frame_NR: IntArray, now_N: IntArray) -> IntArray:
    """The column for a frame: its own, else an empty one, else the oldest."""
    empty_NR = frame_NR == EMPTY
    kind_NR = np.where(frame_NR == now_N[:, None], 0, np.where(empty_NR, 1, 2))
    age_NR = np.where(empty_NR, 0, frame_NR)
    place: IntArray = np.argmin(kind_NR * _KIND + age_NR, axis=1)
    return place


def in_order(frames: IntArray) -> tuple[int, ...]:
    """The frames in non-empty columns, oldest first."""
    return tuple(sorted(int(frame) for frame in frames if frame != EMPTY))
