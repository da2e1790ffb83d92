"""Of a step, next to everything is a replayed graph: what is launched beside them is counted."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.tracker.agreement.scripts import model_with, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tests.tracker.little import LITTLE, click, little_picture
from tests.tracker.pretended.device import pretended_cuda
from tests.tracker.pretended.launches import Launches
from tests.tracker.pretended.tensors import PretendedDevice
from tracker import Tracker, TrackerOptions
from tracker.options import EngineOptions

DEVICE = "cuda:1"
# With graphs of the network alone: 107 for one object by the paper's rule, 377 by the robust one.
MOST_LAUNCHES = 10
# Of one kernel on a device, whose counts are cleared by a launch of their own.
WITHIN_PACKING = 1
FRAMES = 4


def tracker_with(policy: Any, max_objects: int) -> Tracker:
    weights = amplified_weights(shapes_of(LITTLE), seed=1, object_score_bias=4.0)
    options = TrackerOptions(
        max_objects=max_objects,
        compute_dtype="float32",
        memory_policy=policy,
        engine=EngineOptions(attention="sdpa"),
    )
    return Tracker(model_with(LITTLE, weights), torch.device(DEVICE), options)


def launched(
    device: PretendedDevice, tracker: Tracker, streams: int, objects: int
) -> tuple[Launches, int]:
    """What the last of some steps launches, and how often it uploads."""
    sessions = [tracker.open_session() for _ in range(streams)]
    with Launches(device) as launches:
        for index in range(FRAMES):
            batch = [
                (
                    session,
                    tracker.prepare(little_picture(index + 9 * place, 50, 61)),
                    [click(each, 5 + 3 * each, 20) for each in range(objects if index == 0 else 0)],
                )
                for place, session in enumerate(sessions)
            ]
            launches.clear()
            device.copies.clear()
            tracker.step(batch)
    return launches, sum(copy.to_device for copy in device.copies)


@pytest.mark.parametrize("policy", ["sam2", "robust"])
@pytest.mark.parametrize(("streams", "objects"), [(1, 1), (1, 5), (3, 2)])
def test_few_launches_are_outside_of_graphs(policy: Any, streams: int, objects: int) -> None:
    with pretended_cuda(1) as device:
        tracker = tracker_with(policy, streams * objects)
        launches, uploads = launched(device, tracker, streams, objects)
    assert launches.outside + WITHIN_PACKING <= MOST_LAUNCHES, launches.names
    assert launches.replays > 5
    assert uploads == 1  # what the step before writes is among its numbers


def test_launches_are_counted_by_what_they_do() -> None:
    with pretended_cuda(1) as device, Launches(device) as launches:
        rows = torch.arange(6.0, device=DEVICE).view(2, 3)
        torch.nn.functional.relu(rows[0] * 2)
        torch.ones(3).relu()  # of the host
    assert dict(launches.names) == {"arange": 1, "mul": 1, "relu": 1}
