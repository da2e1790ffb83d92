"""Fit a calibration of the predicted IoU from the scores of a suite."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tracker.evaluation.calibration import calibration
from tracker.evaluation.runner import ClipScore
from tracker.weights.calibration import ScoreCalibration, fit_calibration, save_calibration


@dataclass(frozen=True, slots=True)
class Fitted:
    """A calibration, its number of masks, and their expected errors before and after it."""

    line: ScoreCalibration
    masks: int
    error_before: float
    error_after: float


def fit(scores: Iterable[ClipScore]) -> Fitted:
    """The calibration for these clips. Raises ValueError for too few masks."""
    objects = [entry for score in scores for entry in score.objects]
    predicted = [each for entry in objects for each in entry.predicted_iou]
    actual = [each for entry in objects for each in entry.actual_iou]
    line = fit_calibration(predicted, actual)
    before, after = calibration(predicted, actual), calibration(line(predicted).tolist(), actual)
    assert before is not None, "there are masks: a line was fitted"
    assert after is not None, "there are masks: a line was fitted"
    return Fitted(line, before.count, before.error, after.error)


def write(path: Path, fitted: Fitted, fingerprint: str, made_from: str) -> None:
    """Write it; ``fingerprint`` identifies the weights."""
    notes = {
        "made_from": made_from,
        "masks": fitted.masks,
        "expected_error_before": round(fitted.error_before, 4),
        "expected_error_after": round(fitted.error_after, 4),
    }
    save_calibration(path, fitted.line, fingerprint, notes)
