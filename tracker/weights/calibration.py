"""Calibration of the predicted IoU: a monotone curve from predicted to actual IoU.

The decoder's IoU estimate is trained on images and overconfident on video: it does not notice that
the tracker has switched to another object. Isotonic regression (Zadrozny & Elkan, "Transforming
classifier scores into accurate multiclass probability estimates", KDD 2002) finds the monotone
curve with the least squared error; the order of scores is preserved.

The curve is stored beside its checkpoint as ``NAME.calibration.json``, with the fingerprint of the
weights it belongs to.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tracker.errors import CheckpointError

FORMAT = "masklet-calibration/1"
KNOTS = 32
FEWEST_PAIRS = 200
FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ScoreCalibration:
    """A piecewise linear curve: ``predicted`` strictly increases, ``actual`` never decreases.

    It is constant below the first knot. A prediction of 1, which only prompted masks have, stays 1.
    """

    predicted: tuple[float, ...]
    actual: tuple[float, ...]

    def __post_init__(self) -> None:
        count = len(self.predicted)
        if count < 1 or count != len(self.actual):
            raise ValueError(f"{count} predicted values for {len(self.actual)} actual ones")
        if not all(0 <= each <= 1 for each in (*self.predicted, *self.actual)):
            raise ValueError("predicted and actual values must be 0..1")
        rises = all(a < b for a, b in zip(self.predicted, self.predicted[1:], strict=False))
        falls = any(a > b for a, b in zip(self.actual, self.actual[1:], strict=False))
        if not rises or falls:
            raise ValueError("predicted values must increase, actual values must not decrease")

    def __call__(self, predicted: Sequence[float] | FloatArray) -> FloatArray:
        """The IoU to expect of masks with these predictions, (N,) float64; NaN stays NaN."""
        knots, heights = (*self.predicted, 1.0), (*self.actual, 1.0)
        if self.predicted[-1] == 1.0:
            knots, heights = self.predicted, self.actual
        return np.interp(np.asarray(predicted, dtype=np.float64), knots, heights)


def fit_calibration(
    predicted: Sequence[float], actual: Sequence[float], knots: int = KNOTS
) -> ScoreCalibration:
    """The curve for pairs of predicted and actual IoU, 0..1, with at most ``knots`` knots.

    The pairs are first grouped by prediction into equal groups: a knot per pair would overfit.
    Raises ValueError for too few pairs, or unequal numbers.
    """
    claim, truth = np.asarray(predicted, dtype=np.float64), np.asarray(actual, dtype=np.float64)
    if claim.shape != truth.shape:
        raise ValueError(f"{claim.size} predictions for {truth.size} masks")
    usable = np.isfinite(claim) & np.isfinite(truth)
    # A prompted mask has 1 in place of a prediction.
    usable &= claim < 1.0
    if usable.sum() < FEWEST_PAIRS:
        raise ValueError(
            f"{usable.sum()} masks are too few to calibrate; {FEWEST_PAIRS} are needed"
        )
    order = np.argsort(claim[usable], kind="stable")
    claim, truth = claim[usable][order], truth[usable][order]
    groups = np.array_split(np.arange(claim.size), min(knots, claim.size))
    centres = np.array([claim[group].mean() for group in groups])
    heights = rising(
        np.array([truth[group].mean() for group in groups]),
        np.array([group.size for group in groups], dtype=np.float64),
    )
    centres, heights = np.clip(centres, 0.0, 1.0), np.clip(heights, 0.0, 1.0)
    apart = np.concatenate(([True], np.diff(centres) > 1e-9))
    return ScoreCalibration(
        tuple(round(float(each), 6) for each in centres[apart]),
        tuple(round(float(each), 6) for each in heights[apart]),
    )


def rising(values: FloatArray, weights: FloatArray) -> FloatArray:
    """The non-decreasing series nearest to ``values`` (weighted least squares).

    Pool adjacent violators: neighbours in the wrong order are replaced by their mean.
    """
    means: list[float] = []
    masses: list[float] = []
    counts: list[int] = []
    for value, weight in zip(values, weights, strict=True):
        means.append(float(value))
        masses.append(float(weight))
        counts.append(1)
        while len(means) > 1 and means[-2] > means[-1]:
            mass = masses[-2] + masses[-1]
            mean = (means[-2] * masses[-2] + means[-1] * masses[-1]) / mass
            count = counts[-2] + counts[-1]
            for each in (means, masses, counts):
                each.pop()
            means[-1], masses[-1], counts[-1] = mean, mass, count
    return np.repeat(means, counts)


def calibration_path(checkpoint: Path) -> Path:
    """The calibration file of a checkpoint."""
    return checkpoint.with_name(f"{checkpoint.stem}.calibration.json")


def save_calibration(
    path: Path, calibration: ScoreCalibration, fingerprint: str, notes: dict[str, Any]
) -> None:
    """Write a calibration atomically, with the weights' fingerprint and notes on its origin."""
    content = {
        "format": FORMAT,
        "fingerprint": fingerprint,
        "predicted": list(calibration.predicted),
        "actual": list(calibration.actual),
        "notes": notes,
    }
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(path)


def load_calibration(path: Path, fingerprint: str) -> ScoreCalibration | None:
    """The calibration in a file; None if there is no file, or if it belongs to other weights.

    Raises CheckpointError for a damaged file.
    """
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT:
            raise ValueError(f"its format is {content['format']!r}, this version reads {FORMAT!r}")
        if content["fingerprint"] != fingerprint:
            return None
        return ScoreCalibration(_numbers(content["predicted"]), _numbers(content["actual"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CheckpointError(
            f"{path} cannot be read as a calibration: {error}; remove it, or make it again with "
            "masklet evaluate --fit-calibration"
        ) from error


def _numbers(values: list[float]) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if not all(map(math.isfinite, numbers)):
        raise ValueError("a value is not finite")
    return numbers
