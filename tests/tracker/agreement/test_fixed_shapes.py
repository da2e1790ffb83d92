"""Padded rows and memories in fixed shapes agree with `transformers` as plain ones do."""

from __future__ import annotations

import pytest

from tests.tracker.agreement.comparison import (
    RELATIVE_TOLERANCE,
    ObservedTracker,
    Scale,
    run_ours,
    run_reference,
)
from tests.tracker.agreement.scripts import SMALL, model_with, small_weights
from tests.tracker.agreement.test_streams import SCRIPTS
from tracker.options import EngineOptions


@pytest.mark.parametrize("name", ["several conditioning frames"])
def test_tracker_with_fixed_shapes_agrees_with_transformers(name: str) -> None:
    script = SCRIPTS[name]
    weights = small_weights(script.generation, script.object_score_bias)
    tracker = ObservedTracker(model_with(SMALL, weights), engine=EngineOptions(fixed_shapes="on"))
    theirs = list(run_reference(SMALL, weights, script.frames))
    scale = Scale(theirs)
    differences = [
        scale.difference(own, other)
        for own, other in zip(run_ours(tracker, script.frames), theirs, strict=True)
    ]
    assert max(differences) < RELATIVE_TOLERANCE, differences
    assert tracker.engine_counts.shapes > 0
