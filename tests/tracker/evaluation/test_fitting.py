"""A calibration is fitted to the predicted and actual IoUs of a suite."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tracker.evaluation.arguments import check, make_parser
from tracker.evaluation.fitting import fit, write
from tracker.evaluation.runner import ClipScore
from tracker.evaluation.series import ObjectScore
from tracker.weights.calibration import load_calibration


def scores(count: int) -> list[ClipScore]:
    """Masks with half the predicted IoU, in two clips."""
    random = np.random.default_rng(1)
    clips = []
    for name in ("first", "second"):
        predicted = random.uniform(0.2, 0.9, count)
        entry = ObjectScore(
            name,
            "any",
            object_id=1,
            jaccard=None,
            boundary_f=None,
            returned=None,
            predicted_iou=tuple(predicted.tolist()),
            actual_iou=tuple((predicted / 2).tolist()),
        )
        clips.append(ClipScore(name, "any", (entry,), 0.0))
    return clips


def test_a_fitted_calibration_reduces_the_error_and_is_saved_with_its_origin(
    tmp_path: Path,
) -> None:
    fitted = fit(scores(400))
    assert fitted.masks == 800
    assert fitted.error_before > 0.2
    assert fitted.error_after < 0.01
    path = tmp_path / "nano.calibration.json"
    write(path, fitted, "weights", "a suite")
    assert load_calibration(path, "weights") == fitted.line
    assert json.loads(path.read_text())["notes"]["made_from"] == "a suite"


def test_too_few_masks_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        fit(scores(20))


def test_calibration_of_an_ablation_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    parser = make_parser("evaluate")
    options = parser.parse_args(["--ablate", "--out", "x", "--fit-calibration", "y.json"])
    with pytest.raises(SystemExit):
        check(parser, options)
    assert "--fit-calibration and --ablate exclude one another" in capsys.readouterr().err
