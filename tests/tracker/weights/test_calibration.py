"""Calibration of the predicted IoU: fitting, applying, saving."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.tracker.little import LITTLE, click, little_picture, little_tracker, step
from tracker import CheckpointError, Tracker
from tracker.model import Sam2
from tracker.weights.calibration import (
    ScoreCalibration,
    calibration_path,
    fit_calibration,
    load_calibration,
    rising,
    save_calibration,
)
from tracker.weights.checkpoint import fingerprint, save_checkpoint

LINE = ScoreCalibration((0.2, 0.6, 0.8), (0.1, 0.1, 0.7))


def test_curve_is_constant_below_rises_between_and_keeps_prompted_masks() -> None:
    np.testing.assert_allclose(
        LINE([0.0, 0.2, 0.5, 0.7, 0.8, 0.9, 1.0]), [0.1, 0.1, 0.1, 0.4, 0.7, 0.85, 1.0]
    )
    assert np.isnan(LINE([float("nan")])).all()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_rising_never_falls_and_keeps_the_mean(values: list[float]) -> None:
    found = rising(np.array(values), np.ones(len(values)))
    assert (np.diff(found) >= -1e-12).all()
    assert found.mean() == pytest.approx(np.mean(values))


def test_rising_is_the_known_solution() -> None:
    found = rising(np.array([1.0, 3.0, 2.0, 4.0, 3.5, 3.0]), np.array([1.0, 1, 3, 1, 1, 2]))
    np.testing.assert_allclose(found, [1, 2.25, 2.25, 3.375, 3.375, 3.375])


def test_fit_corrects_overconfident_predictions() -> None:
    random = np.random.default_rng(4)
    predicted = random.uniform(0.3, 0.95, 8000)
    actual = np.clip(predicted**2 + random.normal(0, 0.15, 8000), 0, 1)
    found = fit_calibration(predicted[:4000].tolist(), actual[:4000].tolist())
    assert len(found.predicted) <= 32
    before = abs(predicted[4000:] - predicted[4000:] ** 2).mean()
    after = abs(found(predicted[4000:]) - predicted[4000:] ** 2).mean()
    assert before > 0.18
    assert after < 0.02


def test_too_few_or_unpaired_masks_are_refused() -> None:
    with pytest.raises(ValueError, match="199 masks are too few"):
        fit_calibration([0.5] * 199 + [1.0], [0.5] * 200)
    with pytest.raises(ValueError, match="3 predictions for 2 masks"):
        fit_calibration([0.1, 0.2, 0.3], [0.1, 0.2])


@pytest.mark.parametrize(
    ("predicted", "actual"),
    [((), ()), ((0.1,), ()), ((0.2, 0.2), (0.1, 0.2)), ((0.1, 0.2), (0.3, 0.2)), ((0.1,), (1.5,))],
)
def test_invalid_curve_is_refused(predicted: tuple[float], actual: tuple[float]) -> None:
    with pytest.raises(ValueError, match="predicted"):
        ScoreCalibration(predicted, actual)


def test_saved_calibration_belongs_to_its_weights_only(tmp_path: Path) -> None:
    path = calibration_path(tmp_path / "little.safetensors")
    assert path.name == "little.calibration.json"
    assert load_calibration(path, "a") is None
    save_calibration(path, LINE, "a", {"masks": 3})
    assert load_calibration(path, "a") == LINE
    assert load_calibration(path, "b") is None
    path.write_text(path.read_text().replace("0.6", "0.1"))
    with pytest.raises(CheckpointError, match=r"little\.calibration\.json.*--fit-calibration"):
        load_calibration(path, "a")


def test_tracker_reports_calibrated_scores_if_its_checkpoint_has_a_calibration(
    tmp_path: Path,
) -> None:
    torch.manual_seed(0)
    model = Sam2(LITTLE)
    path = tmp_path / "little.safetensors"
    save_checkpoint(model, path, torch.float32)
    plain = Tracker.from_checkpoint(path, device="cpu")
    save_calibration(calibration_path(path), LINE, fingerprint(model), {})
    calibrated = Tracker.from_checkpoint(path, device="cpu")
    for tracker in (plain, calibrated):
        session = tracker.open_session()
        step(tracker, session, little_picture(0), click(1))
        track = step(tracker, session, little_picture(1))[1]
        expected = LINE([track.predicted_iou])[0] if tracker is calibrated else None
        assert track.calibrated_iou == expected


def test_preview_reports_the_scores_of_the_correction() -> None:
    tracker = little_tracker(object_score_bias=20.0)
    tracker.calibration = LINE
    session = tracker.open_session()
    step(tracker, session, little_picture(0), click(1))
    step(tracker, session, little_picture(1))
    seen = tracker.preview(session, click(1, 9, 50))
    corrected = tracker.correct(session, [click(1, 9, 50)]).tracks[0]
    assert seen.calibrated_iou == corrected.calibrated_iou == LINE([seen.predicted_iou])[0]
    assert seen.pointer_similarity == corrected.pointer_similarity is not None
    assert tracker.preview(session, click(2)).pointer_similarity is None
