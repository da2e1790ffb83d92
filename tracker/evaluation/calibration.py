"""Calibration of the predicted IoU: reliability by bins and the expected error.

Guo et al., "On Calibration of Modern Neural Networks", ICML 2017, with IoU in place of accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Masks whose predicted IoU lies in [low, high); the last bin holds 1.0 too."""

    low: float
    high: float
    count: int
    predicted: float
    actual: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """``error``: mean over masks of the difference between their bin's predicted and actual IoU."""

    error: float
    count: int
    bins: tuple[Bin, ...]


def calibration(predicted: Sequence[float], actual: Sequence[float]) -> Calibration | None:
    """Masks binned by predicted IoU, without empty bins. None without a mask.

    Raises ValueError if the two differ in length.
    """
    if len(predicted) != len(actual):
        raise ValueError(f"{len(predicted)} predictions for {len(actual)} masks")
    if not predicted:
        return None
    claims, truths = np.clip(np.asarray(predicted), 0.0, 1.0), np.asarray(actual)
    place = np.minimum((claims * BINS).astype(np.intp), BINS - 1)
    bins = [
        Bin(
            low=number / BINS,
            high=(number + 1) / BINS,
            count=int(inside.sum()),
            predicted=float(claims[inside].mean()),
            actual=float(truths[inside].mean()),
        )
        for number in range(BINS)
        if (inside := place == number).any()
    ]
    missed = sum(each.count * abs(each.predicted - each.actual) for each in bins)
    return Calibration(missed / len(claims), len(claims), tuple(bins))
