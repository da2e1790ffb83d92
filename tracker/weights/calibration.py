"""What a predicted IoU is worth: a rising line through what masks of each prediction really had.

The decoder's estimate of a mask's IoU is trained on pictures and is too sure on video: it does
not know that the tracker has gone over to somebody else. Isotonic regression (Zadrozny & Elkan,
"Transforming classifier scores into accurate multiclass probability estimates", KDD 2002) finds
the rising line with the least squared error; it changes no order of scores.

Knows no tracker: pairs of numbers in, a line out. The line lies beside its checkpoint, as
``NAME.calibration.json``, and says of which weights it is.
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
    """A rising line through knots: ``predicted`` rises strictly, ``actual`` never falls.

    Below the first knot it is level. A prediction of 1, which only a mask that was given has,
    stays 1.
    """

    predicted: tuple[float, ...]
    actual: tuple[float, ...]

    def __post_init__(self) -> None:
        count = len(self.predicted)
        if count < 1 or count != len(self.actual):
            raise ValueError(f"{count} knots at {len(self.actual)} heights")
        if not all(0 <= each <= 1 for each in (*self.predicted, *self.actual)):
            raise ValueError("knots and heights are 0..1")
        rises = all(a < b for a, b in zip(self.predicted, self.predicted[1:], strict=False))
        falls = any(a > b for a, b in zip(self.actual, self.actual[1:], strict=False))
        if not rises or falls:
            raise ValueError("knots rise and heights never fall")

    def __call__(self, predicted: Sequence[float] | FloatArray) -> FloatArray:
        """The IoU to expect of masks with these predictions, (N,) float64; NaN stays NaN."""
        knots, heights = (*self.predicted, 1.0), (*self.actual, 1.0)
        if self.predicted[-1] == 1.0:
            knots, heights = self.predicted, self.actual
        return np.interp(np.asarray(predicted, dtype=np.float64), knots, heights)


def fit_calibration(
    predicted: Sequence[float], actual: Sequence[float], knots: int = KNOTS
) -> ScoreCalibration:
    """The line for pairs of predicted and actual IoU, 0..1, with at most ``knots`` knots.

    The pairs are put in groups of equal size by prediction first: a knot for every pair would
    follow chance. Raises ValueError for too few pairs, or another number of one than of the other.
    """
    claim, truth = np.asarray(predicted, dtype=np.float64), np.asarray(actual, dtype=np.float64)
    if claim.shape != truth.shape:
        raise ValueError(f"{claim.size} predictions for {truth.size} masks")
    usable = np.isfinite(claim) & np.isfinite(truth)
    # A mask that was given has a prediction of 1 that is none.
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
    """The series that never falls and is nearest to ``values`` (weighted least squares).

    Pool adjacent violators: neighbours in the wrong order become their mean.
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
    """Where the calibration of a checkpoint's weights lies."""
    return checkpoint.with_name(f"{checkpoint.stem}.calibration.json")


def save_calibration(
    path: Path, calibration: ScoreCalibration, fingerprint: str, notes: dict[str, Any]
) -> None:
    """Write it, atomically. ``fingerprint`` is of the weights, ``notes`` how it was made."""
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
    """The calibration in a file; None if there is none, or if it is of other weights.

    Raises CheckpointError for a file that is damaged.
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
        raise ValueError("a knot is no number")
    return numbers
