"""CUDA graphs: not run by us, there is no such device here. What is counted is tested without."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.tracker.little import (
    LITTLE,
    assert_all_same,
    click,
    little_picture,
    little_tracker,
    model_with,
)
from tracker import TrackerOptions
from tracker.engine.calls import Calls, GraphCalls, key_of
from tracker.options import EngineOptions
from tracker.tracker import Tracker


def test_a_shape_is_what_shapes_and_types_say() -> None:
    rows = torch.zeros(2, 3)
    assert key_of("a", [rows, None]) == key_of("a", [rows + 1, None])
    assert key_of("a", [rows, None]) != key_of("b", [rows, None])
    assert key_of("a", [rows, None]) != key_of("a", [rows, rows])
    assert key_of("a", [rows]) != key_of("a", [rows.double()])
    assert key_of("a", [rows]) != key_of("a", [rows[:1]])


def test_shapes_are_counted_once_and_those_in_service_apart() -> None:
    calls = Calls()
    for rows in (2, 4, 2):
        assert calls("double", torch.add, torch.ones(rows), torch.ones(rows)).sum() == 2 * rows
    assert (calls.counts.shapes, calls.counts.in_service) == (2, 0)
    calls.warm = True
    calls("double", torch.add, torch.ones(4), torch.ones(4))
    calls("double", torch.add, torch.ones(8), torch.ones(8))
    assert (calls.counts.shapes, calls.counts.in_service) == (3, 1)


@pytest.mark.gpu
def test_replayed_calls_give_results_of_their_own_and_the_oldest_graph_goes() -> None:
    device = torch.device("cuda")
    calls = GraphCalls(device, most_graphs=2)

    def doubled(rows: Tensor) -> tuple[Tensor]:
        return (rows * 2,)

    with torch.inference_mode():
        (first,) = calls("double", doubled, torch.ones(4, device=device))
        (second,) = calls("double", doubled, torch.full((4,), 3.0, device=device))
        assert first.tolist() == [2] * 4
        assert second.tolist() == [6] * 4
        for rows in (8, 2, 4):
            calls("double", doubled, torch.ones(rows, device=device))
    assert calls.counts.shapes == 3
    assert calls.counts.captures == 4
    assert calls.counts.evictions == 2


@pytest.mark.gpu
def test_on_a_device_graphs_track_what_plain_calls_track() -> None:
    weights = little_tracker().model().state_dict()
    trackers = [
        Tracker(
            model_with(LITTLE, {name: value.clone() for name, value in weights.items()}),
            torch.device("cuda"),
            TrackerOptions(
                max_objects=4,
                return_logits=True,
                compute_dtype="float32",
                engine=EngineOptions(fixed_shapes=fixed, attention="sdpa"),
            ),
        )
        for fixed in ("on", "off")
    ]
    trackers[0].warm_up()
    sessions = [tracker.open_session() for tracker in trackers]
    for index in range(20):
        prompts = {0: [click(1)], 3: [click(2), click(3)]}.get(index, [])
        (ours,), (theirs,) = (
            tracker.step([(session, little_picture(index), prompts)])
            for tracker, session in zip(trackers, sessions, strict=True)
        )
        assert_all_same(ours, theirs)
    assert trackers[0].engine_counts.in_service == 0
