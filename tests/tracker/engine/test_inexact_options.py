"""Options that change results: each is exact where it says so, and off unless asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

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
from tracker.engine.options import EngineOptions
from tracker.memory.bank import MemoryBank
from tracker.memory.shapes import MemoryShapes
from tracker.model.pooling import attend_pooled, pool_memory

CPU = torch.device("cpu")


def tracker_with(options: EngineOptions) -> Tracker:
    weights = {name: value.clone() for name, value in _weights.items()}
    return Tracker(
        model_with(LITTLE, weights), CPU, TrackerOptions(8, return_logits=True, engine=options)
    )


_weights = little_tracker().model().state_dict()


def test_pooled_keys_of_a_memory_of_equal_blocks_are_exact() -> None:
    generator = torch.Generator().manual_seed(0)

    def blocks(channels: int) -> torch.Tensor:
        """Two frames of 4 x 4 cells in equal blocks of 2 x 2, and three plain tokens."""
        small = torch.randn(3, 2, 2, 2, channels, generator=generator)
        wide = small.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3).flatten(1, 3)
        return torch.cat((wide, torch.randn(3, 3, channels, generator=generator)), dim=1)

    query = torch.randn(3, 7, 8, generator=generator)
    key, value = blocks(8), blocks(4)
    exact = F.scaled_dot_product_attention(query, key, value)
    pooled = pool_memory(key, value, 3, 16, None)
    assert pooled.key_NTC.shape == (3, 2 * 4 + 3, 8)
    torch.testing.assert_close(attend_pooled(query, *pooled), exact)

    valid = torch.ones(3, 35, dtype=torch.bool)
    valid[1, 16:32] = valid[2, 33:] = False
    exact = F.scaled_dot_product_attention(query, key, value, valid[:, None])
    pooled = pool_memory(key, value, 3, 16, valid)
    torch.testing.assert_close(attend_pooled(query, *pooled), exact)


def test_an_odd_grid_has_no_blocks() -> None:
    rows = torch.zeros(1, 9, 4)
    with pytest.raises(ValueError, match="a grid of 3 x 3 cells has no 2x2 blocks"):
        pool_memory(rows, rows, 0, 9, None)


def test_every_third_memory_is_the_newest_the_fourth_and_those_prompted() -> None:
    bank = MemoryBank(LITTLE, 2, CPU)
    slots = np.array([bank.allocate(), bank.allocate()])
    tokens = torch.zeros(2, LITTLE.grid_size**2, LITTLE.memory_dim)
    for frame in range(10):
        conditioning = np.array([frame == 0, frame == 8])
        now = np.full(2, frame)
        bank.write(slots, now, conditioning, tokens, torch.zeros(2, LITTLE.hidden_dim))
    places = bank.find(slots, np.full(2, 10)).thinned(3, window=6)
    codes = [sorted(row[valid].tolist()) for row, valid in zip(*places[2:4], strict=True)]
    assert codes == [[0, 3, 6], [0, 3, 6]]
    assert places.valid_NF[:, :3].all()
    every = bank.find(slots, np.full(2, 10))
    same = every.thinned(1, window=6)
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(same, every, strict=True))


def test_shapes_know_of_the_stride() -> None:
    shapes = MemoryShapes.of(6, 15, 4).thinned(3, 6)
    assert [shape.frames for shape in shapes.steady] == [3, 4, 5, 6]
    assert shapes.padded[-1].frames == 6


@pytest.mark.parametrize(
    "options",
    [
        EngineOptions(pooled_keys=True),
        EngineOptions(memory_stride=2),
        EngineOptions(image_size=32),
        EngineOptions(image_size=32, positions="regenerated"),
    ],
)
def test_an_option_changes_what_is_tracked_the_same_with_fixed_shapes(
    options: EngineOptions,
) -> None:
    trackers = [
        tracker_with(options),
        tracker_with(replace(options, fixed_shapes="on")),
        tracker_with(EngineOptions()),
    ]
    sessions = [tracker.open_session() for tracker in trackers]
    for index in range(6):
        prompts = [click(1)] if index == 0 else []
        own, fixed, exact = (
            step(tracker, session, little_picture(index), *prompts)[1]
            for tracker, session in zip(trackers, sessions, strict=True)
        )
        assert_same(own, fixed)
    assert own.predicted_iou != exact.predicted_iou


def test_the_trained_size_is_exact_however_positions_count() -> None:
    plain = tracker_with(EngineOptions())
    for positions in ("stretched", "regenerated"):
        sized = tracker_with(EngineOptions(image_size=LITTLE.image_size, positions=positions))
        for ours, theirs in zip(sized.model().rotation(), plain.model().rotation(), strict=True):
            assert torch.equal(ours, theirs)


def test_a_stretched_grid_spans_the_trained_angles() -> None:
    model = tracker_with(EngineOptions()).model()
    trained = model.rotation().view(4, 4, -1)
    model.resize(32, stretched=True)
    torch.testing.assert_close(model.rotation().view(2, 2, -1), trained[::2, ::2])
    model.resize(64, stretched=False)
    model.resize(32, stretched=False)
    assert torch.equal(model.rotation().view(2, 2, -1), trained[:2, :2])
