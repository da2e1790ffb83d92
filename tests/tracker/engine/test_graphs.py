"""CUDA graphs: not run by us, there is no such device here. What is counted is tested without."""

from __future__ import annotations

import numpy as np
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
from tracker.engine.calls import Call, Calls
from tracker.engine.graph_calls import GraphCalls
from tracker.options import EngineOptions
from tracker.tracker import Tracker


def doubled(row_R: Tensor, rows: Tensor) -> tuple[Tensor]:
    return (rows[row_R] * 2,)


def call(rows: Tensor, *row: int, size: int | None = None) -> Call:
    """Doubles some rows; those beyond ``size`` are padding."""
    numbers = np.array(row)
    place_n = np.arange(len(row) if size is None else size)
    return Call("double", doubled, place_n, len(row), (numbers,), (rows,))


def test_a_shape_is_that_of_the_arrays_and_of_one_row_of_the_tables() -> None:
    rows = torch.zeros(2, 3)
    assert call(rows, 0, 1).key == call(rows.repeat(2, 1) + 1, 1, 1).key
    assert call(rows, 0, 1).key != call(rows, 0, 1)._replace(name="b").key
    assert call(rows, 0, 1).key != call(rows, 0).key
    assert call(rows, 0, 1).key != call(rows.double(), 0, 1).key
    assert call(rows, 0, 1).key != call(rows[:, :1], 0, 1).key


def test_shapes_are_counted_once_and_those_in_service_apart() -> None:
    calls, rows = Calls(torch.device("cpu")), torch.arange(8.0)
    for row in ((1, 2), (1, 2, 3, 4), (3, 4)):
        (result,) = calls("doubled", len(row), [call(rows, *row)])
        assert result.tolist() == [2 * each for each in row]
    assert (calls.counts.shapes, calls.counts.in_service) == (2, 0)
    calls.warm = True
    calls("doubled", 2, [call(rows, 0, 1)])
    calls("doubled", 1, [call(rows, 0)])
    calls("doubled", 3, [call(rows, 0, 1, 2)._replace(rare=True)])
    assert (calls.counts.shapes, calls.counts.in_service) == (3, 1)


def test_calls_fill_their_places_and_padding_none() -> None:
    calls, rows = Calls(torch.device("cpu")), torch.arange(8.0)
    parts = [
        call(rows, 3, 4)._replace(place_n=np.array([2, 0])),
        call(rows, 5, 5, size=1)._replace(place_n=np.array([1])),
    ]
    (result,) = calls("doubled", 3, parts)
    assert result.tolist() == [8, 10, 6]


@pytest.mark.gpu
def test_replayed_calls_fill_tables_and_the_oldest_graph_goes() -> None:
    device = torch.device("cuda")
    calls = GraphCalls(device, most_graphs=2, rows=4)
    with torch.inference_mode():
        rows = calls.table("rows", [torch.arange(4.0, device=device)])
        (first,) = calls("doubled", 4, [call(rows, 3, 2, 1, 0)])
        calls.run()
        assert first.tolist() == [6, 4, 2, 0]
        for row in ((0,), (0, 1), (1, 2, 3, 3)):
            calls("doubled", len(row), [call(rows, *row)])
        calls.run()
        assert first.tolist() == [2, 4, 6, 6]
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
