"""Masks as vertical runs of pixels: a few kilobytes each, however large the picture.

Runs are in the order of COCO's run lengths, column by column, so those follow without a bitmap;
and regions are found on a few thousand runs instead of millions of pixels.

Dimensions: n masks, R runs of one, H W the picture.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.types import MaskArray

_Ints = npt.NDArray[np.int64]


class Runs(NamedTuple):
    """The pixels ``top`` to ``bottom`` (exclusive) of ``column``, int64 (R) each.

    Sorted by column, then by row; runs of a column do not touch.
    """

    column: _Ints
    top: _Ints
    bottom: _Ints

    @property
    def area(self) -> int:
        """The number of pixels."""
        return int((self.bottom - self.top).sum())

    @property
    def box_xyxy(self) -> tuple[int, int, int, int]:
        """The half-open box; all zero for an empty mask."""
        if not len(self.column):
            return 0, 0, 0, 0
        x0, x1 = int(self.column[0]), int(self.column[-1]) + 1
        return x0, int(self.top.min()), x1, int(self.bottom.max())

    def moved(self, x: int, y: int) -> Runs:
        """The same mask at another place."""
        return Runs(self.column + x, self.top + y, self.bottom + y)

    def chosen(self, which_R: npt.NDArray[np.bool_]) -> Runs:
        """Some of the runs."""
        return Runs(*(part[which_R] for part in self))

    def bitmap(self, box_xyxy: tuple[int, int, int, int]) -> MaskArray:
        """The mask inside a box that holds all of it, boolean."""
        x0, y0, x1, y1 = box_xyxy
        steps = np.zeros((x1 - x0, y1 - y0 + 1), np.int8)
        steps[self.column - x0, self.top - y0] = 1
        steps[self.column - x0, self.bottom - y0] = -1
        return np.ascontiguousarray(steps.cumsum(axis=1, dtype=np.int8)[:, :-1].T.astype(np.bool_))

    def counts(self, height: int, width: int) -> list[int]:
        """COCO's uncompressed run lengths in the whole picture, beginning with the background."""
        begin, end = self.column * height + self.top, self.column * height + self.bottom
        apart = end[:-1] != begin[1:]  # a run down to the last row goes on in the next column
        begin = begin[np.concatenate(([True], apart))] if len(begin) else begin
        end = end[np.concatenate((apart, [True]))] if len(end) else end
        changes = np.stack((begin, end), axis=1).ravel()
        lengths: list[int] = np.diff(changes, prepend=0, append=height * width).tolist()
        return lengths if len(lengths) == 1 or lengths[-1] else lengths[:-1]


def runs_of(mask_nHW: Tensor) -> list[Runs]:
    """The runs of boolean masks on any device; one transfer of their ends to the host."""
    rows_nWH = F.pad(mask_nHW.transpose(1, 2).to(torch.int8), (1, 1))
    ends = (rows_nWH[..., 1:] != rows_nWH[..., :-1]).nonzero().cpu().numpy()
    mask, column, row = ends.T  # the beginning and the end of each run, in turn
    bounds = np.searchsorted(mask[::2], np.arange(len(mask_nHW) + 1)).tolist()
    whole = Runs(column[::2], row[::2], row[1::2])
    return [Runs(*(part[begin:end] for part in whole)) for begin, end in pairwise(bounds)]


def compressed(counts: list[int]) -> str:
    """COCO's compressed run lengths: each count less the one two before, 5 bits a character."""
    characters = []
    for place, count in enumerate(counts):
        value = count - counts[place - 2] if place > 2 else count
        while True:
            low, value = value & 0x1F, value >> 5
            more = value != (-1 if low & 0x10 else 0)
            characters.append(chr(48 + (low | 0x20 if more else low)))
            if not more:
                break
    return "".join(characters)


def without_small_regions(runs: Runs, height: int, width: int, least_area: int) -> Runs:
    """Fill holes and remove separate regions of fewer than ``least_area`` pixels.

    Holes first; both are connected by edges and corners, as in the reference. If every region is
    small, the largest one stays.
    """
    gaps = _complement(runs, height, width)
    area_R = _areas(gaps, height)
    runs = _complement(gaps.chosen(area_R >= least_area), height, width)
    area_R = _areas(runs, height)
    kept_R = area_R >= least_area
    if len(area_R) and not kept_R.any():
        labels = _regions(runs, height)
        kept_R = labels == labels[area_R.argmax()]
    return runs.chosen(kept_R)


def _complement(runs: Runs, height: int, width: int) -> Runs:
    """The runs of all other pixels."""
    columns = np.arange(width)
    # In each column a gap begins at the top and below each run, and ends above each and below.
    begin = np.concatenate((columns, runs.column)), np.concatenate((0 * columns, runs.bottom))
    end = np.concatenate((runs.column, columns)), np.concatenate((runs.top, 0 * columns + height))
    column, top = (part[np.lexsort(begin[::-1])] for part in begin)
    bottom = end[1][np.lexsort(end[::-1])]
    gaps = Runs(column, top, bottom)
    return gaps.chosen(bottom > top)


def _areas(runs: Runs, height: int) -> _Ints:
    """For each run the pixels of its region."""
    labels = _regions(runs, height)
    areas = np.bincount(labels, runs.bottom - runs.top, minlength=len(labels))
    return areas.astype(np.int64)[labels]


def _regions(runs: Runs, height: int) -> _Ints:
    """For each run the index of its region's first run; regions connect across corners."""
    column, top, bottom = runs
    # Neighbours in the next column: those that end at this run's top or below, and begin at its
    # bottom or above.
    key = height + 1
    first = np.searchsorted(column * key + bottom, (column + 1) * key + top)
    last = np.searchsorted(column * key + top, (column + 1) * key + bottom, side="right")
    count = np.maximum(last - first, 0)
    own = np.repeat(np.arange(len(column)), count)
    begins = np.cumsum(count) - count
    other = np.arange(len(own)) - np.repeat(begins - first, count)
    labels = np.arange(len(column))
    while True:
        a, b = labels[own], labels[other]
        if (a == b).all():
            return labels
        np.minimum.at(labels, np.maximum(a, b), np.minimum(a, b))
        while (labels != labels[labels]).any():
            labels = labels[labels]
