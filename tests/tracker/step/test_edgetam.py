"""EdgeTAM in the engine: batches, both policies, fixed shapes, image sizes, saved memories."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch

from tests.tracker.agreement.scripts import model_with, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tests.tracker.little import LITTLE, assert_all_same, assert_same, click, little_picture, step
from tracker import Prompt, Tracker, TrackerOptions
from tracker.config import PerceiverConfig, RepVitConfig
from tracker.options import EngineOptions

CONFIG = LITTLE.replaced(
    generation="2.0",
    image_size=128,
    trunk=RepVitConfig((8, 16, 16, 24), (1, 1, 1, 1)),
    perceiver=PerceiverConfig(latents=3, grid_side=2),
)
WEIGHTS = amplified_weights(shapes_of(CONFIG), seed=1, object_score_bias=8.0)


def tracker_with(
    policy: Literal["sam2", "robust"] = "robust", engine: EngineOptions | None = None
) -> Tracker:
    options = TrackerOptions(
        6, return_logits=True, memory_policy=policy, engine=engine or EngineOptions()
    )
    return Tracker(model_with(CONFIG, WEIGHTS), torch.device("cpu"), options)


@pytest.mark.parametrize("policy", ["sam2", "robust"])
@pytest.mark.parametrize("fixed", ["off", "on"])
def test_object_alone_is_tracked_as_in_a_batch_of_objects_and_streams(
    policy: Literal["sam2", "robust"], fixed: Literal["off", "on"]
) -> None:
    together, alone = tracker_with(policy, EngineOptions(fixed_shapes=fixed)), tracker_with(policy)
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
    tracker = tracker_with(engine=EngineOptions(smaller_image_sizes=(64,)))
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


def test_object_is_tracked_on_from_its_saved_memory() -> None:
    tracker = tracker_with()
    session = tracker.open_session()
    step(tracker, session, little_picture(0), click(1))
    memory = session.export_object(1)
    assert memory.spatial_FLc.shape == (1, 7, CONFIG.memory_dim)
    results = []
    for _ in range(2):
        again = tracker.open_session()
        again.import_object(1, memory)
        results.append(list(step(tracker, again, little_picture(1)).values()))
    assert_all_same(*results)
