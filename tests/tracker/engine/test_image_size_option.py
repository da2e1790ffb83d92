"""``EngineOptions.image_size``: images of another size than the network was trained with."""

from __future__ import annotations

import torch

from tests.tracker.little import (
    LITTLE,
    assert_same,
    click,
    little_picture,
    little_tracker,
    model_with,
    step,
)
from tracker import Tracker, TrackerOptions
from tracker.options import EngineOptions

CPU = torch.device("cpu")


def tracker_with(options: EngineOptions) -> Tracker:
    weights = {name: value.clone() for name, value in _weights.items()}
    return Tracker(
        model_with(LITTLE, weights), CPU, TrackerOptions(8, return_logits=True, engine=options)
    )


_weights = little_tracker().model().state_dict()


def test_another_size_changes_results_and_fixed_shapes_do_not() -> None:
    trackers = [
        tracker_with(EngineOptions(image_size=32)),
        tracker_with(EngineOptions(image_size=32, fixed_shapes="on")),
        tracker_with(EngineOptions()),
    ]
    sessions = [tracker.open_session() for tracker in trackers]
    for index in range(6):
        prompts = [click(1)] if index == 0 else []
        own, fixed, trained = (
            step(tracker, session, little_picture(index), *prompts)[1]
            for tracker, session in zip(trackers, sessions, strict=True)
        )
        assert_same(own, fixed)
    assert own.predicted_iou != trained.predicted_iou


def test_the_trained_size_is_exact() -> None:
    plain = tracker_with(EngineOptions())
    sized = tracker_with(EngineOptions(image_size=LITTLE.image_size))
    assert torch.equal(sized.model().rotation(), plain.model().rotation())


def test_a_smaller_grid_spans_the_trained_angles() -> None:
    model = tracker_with(EngineOptions()).model()
    trained = model.rotation().view(4, 4, -1)
    model.resize(32)
    torch.testing.assert_close(model.rotation().view(2, 2, -1), trained[::2, ::2])
