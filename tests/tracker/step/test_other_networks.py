"""EdgeTAM and EfficientTAM in the engine: batches, policies, fixed shapes, sizes, memories."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch

from tests.tracker.agreement.scripts import model_with, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tests.tracker.little import LITTLE, assert_all_same, assert_same, click, little_picture, step
from tests.tracker.pretended.device import pretended_cuda
from tests.tracker.pretended.graphs import Graph
from tracker import ModelConfig, Prompt, Track, Tracker, TrackerOptions
from tracker.config import PerceiverConfig, RepVitConfig, VitConfig
from tracker.options import EngineOptions

EDGETAM = LITTLE.replaced(
    generation="2.0",
    image_size=128,
    trunk=RepVitConfig((8, 16, 16, 24), (1, 1, 1, 1)),
    perceiver=PerceiverConfig(latents=3, grid_side=2),
)
EFFICIENTTAM = LITTLE.replaced(
    generation="2.0", image_size=128, trunk=VitConfig(16, 2, 2, (1,), 3, 3)
)
NETWORKS = pytest.mark.parametrize(
    "config", [EDGETAM, EFFICIENTTAM], ids=["EdgeTAM", "EfficientTAM"]
)


def tracker_with(
    config: ModelConfig,
    policy: Literal["sam2", "robust"] = "robust",
    engine: EngineOptions | None = None,
    device: str = "cpu",
) -> Tracker:
    options = TrackerOptions(
        6,
        return_logits=True,
        memory_policy=policy,
        compute_dtype="float32",
        engine=engine or EngineOptions(),
    )
    weights = amplified_weights(shapes_of(config), seed=1, object_score_bias=8.0)
    return Tracker(model_with(config, weights), torch.device(device), options)


@NETWORKS
@pytest.mark.parametrize("policy", ["sam2", "robust"])
@pytest.mark.parametrize("fixed", ["off", "on"])
def test_object_alone_is_tracked_as_in_a_batch_of_objects_and_streams(
    config: ModelConfig, policy: Literal["sam2", "robust"], fixed: Literal["off", "on"]
) -> None:
    together = tracker_with(config, policy, EngineOptions(fixed_shapes=fixed))
    alone = tracker_with(config, policy)
    if fixed == "on":
        together.warm_up()
    first, second, own = together.open_session(), together.open_session(), alone.open_session()
    box = Prompt(2, box_xyxy=(30, 40, 90, 100))
    for index in range(9):
        here, there = little_picture(index % 4), little_picture(5 + index % 3)
        prompts = ([click(1), click(3, 50, 20)], [box]) if index == 0 else ([], [])
        (tracks, others) = together.step([(first, here, prompts[0]), (second, there, prompts[1])])
        (expected,) = alone.step([(own, here, prompts[0][:1])])
        assert_same(tracks[0], expected[0])
        assert [track.object_id for track in others] == [2]
    if fixed == "on":
        assert together.engine_counts.in_service == 0


def test_memories_stay_as_they_are_when_the_image_size_changes() -> None:
    tracker = tracker_with(EDGETAM, engine=EngineOptions(smaller_image_sizes=(64,)))
    session = tracker.open_session()
    step(tracker, session, little_picture(0), click(1))
    before = session.export_object(1)
    tracker.set_image_size(64)
    (own,) = step(tracker, session, little_picture(1)).values()
    assert own.logits is not None
    after = session.export_object(1)
    np.testing.assert_array_equal(before.spatial_FLc, after.spatial_FLc)
    tracker.set_image_size(128)
    step(tracker, session, little_picture(2))


@NETWORKS
def test_object_is_tracked_on_from_its_saved_memory(config: ModelConfig) -> None:
    tracker = tracker_with(config)
    session = tracker.open_session()
    step(tracker, session, little_picture(0), click(1))
    memory = session.export_object(1)
    assert memory.spatial_FLc.shape == (1, config.memory_tokens, config.memory_dim)
    results = []
    for _ in range(2):
        again = tracker.open_session()
        again.import_object(1, memory)
        results.append(list(step(tracker, again, little_picture(1)).values()))
    assert_all_same(*results)


def corrected_at_another_size(tracker: Tracker) -> list[Track]:
    session = tracker.open_session(history_frames=4)
    found: list[Track] = []
    for index in range(6):
        if index == 4:
            tracker.set_image_size(64)
        prompts = [click(1), click(2, 50, 20)] if index == 0 else []
        (tracks,) = tracker.step([(session, little_picture(index), prompts)])
        found += tracks
        if index in (3, 4):  # the frame before: of the other size once
            found += tracker.correct(session, [click(1, 25, 35)], index - 1).latest
    return found


def test_trunk_without_fine_maps_is_corrected_at_other_sizes_and_replayed_on_a_device() -> None:
    sizes = EngineOptions(smaller_image_sizes=(64,))
    expected = corrected_at_another_size(tracker_with(EFFICIENTTAM, engine=sizes))
    assert all(np.isfinite(track.logits).all() for track in expected)
    with pretended_cuda(1):
        replays = Graph.replays
        engine = EngineOptions(smaller_image_sizes=(64,), attention="sdpa")
        found = corrected_at_another_size(
            tracker_with(EFFICIENTTAM, engine=engine, device="cuda:1")
        )
        assert Graph.replays > replays
    assert_all_same(found, expected)
