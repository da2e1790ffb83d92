"""A step asks the device for nothing but its result: each question would wait for all its work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.tracker.little import LITTLE, click, little_picture, little_tracker, model_with
from tracker import Tracker, TrackerOptions
from tracker.host_arrays import HostBuffers, Transfer
from tracker.options import EngineOptions, RobustOptions

# Values read by the host, and shapes that depend on values.
_WAITS = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2"}


class Waits(TorchDispatchMode):
    """Collects the operations for which the host would wait for a device."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        name = function.overloadpacket.__name__
        by_mask = name == "index" and any(
            index is not None and index.dtype == torch.bool for index in arguments[1]
        )
        if name in _WAITS or by_mask:
            self.found.append(name)
        return function(*arguments, **(options or {}))


def test_the_host_waits_for_nothing_but_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = little_tracker().model().state_dict()
    options = TrackerOptions(max_objects=4, fill_hole_area=3, non_overlap=True)
    tracker = Tracker(model_with(LITTLE, weights), torch.device("cpu"), options)
    sessions = [tracker.open_session() for _ in range(2)]
    for index in range(4):
        # The second stream joins later: objects that remember differently much are padded.
        prompts = [[click(1), click(2)] if index == 0 else [], [click(3)] if index == 2 else []]
        with Waits() as waits:
            tracker.step(
                [
                    (session, little_picture(index), own)
                    for session, own in zip(sessions, prompts, strict=True)
                ]
            )
        assert waits.found == []
        # Its copy to a device waits; needed once for constants only.
        monkeypatch.delattr(torch, "tensor", raising=index == 0)


def test_a_question_to_the_device_is_noticed() -> None:
    numbers = torch.arange(3)
    with Waits() as waits:
        assert numbers[numbers > 1].sum().item() == 2
    assert waits.found == ["index", "_local_scalar_dense"]


class Reads(TorchFunctionMode):
    """Collects how the host looks into tensors; from a device each would be a transfer."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        name = getattr(function, "__name__", "")
        if name in {"cpu", "item", "tolist", "numpy", "__bool__", "__int__", "__float__"}:
            self.found.append(name)
        return function(*arguments, **(options or {}))


class Counting(HostBuffers):
    """Takes in what comes from a processor as if it came from a device."""

    def __init__(self) -> None:
        super().__init__(pinned=False)
        self.transfers = 0

    def begin(self, tensors: Any) -> Transfer:
        self.transfers += 1
        with torch._C.DisableTorchFunction():
            return super().begin(tensors)


@pytest.mark.parametrize("fixed_shapes", ["off", "on"])
def test_a_step_brings_its_results_in_one_transfer(
    fixed_shapes: Any,
) -> None:
    """As on a device with memory of its own: whole masks, packed, beside the numbers."""
    weights = little_tracker().model().state_dict()
    options = TrackerOptions(
        max_objects=4,
        non_overlap=True,  # takes the way of such a device
        return_logits=True,
        engine=EngineOptions(fixed_shapes=fixed_shapes),
        robust=RobustOptions(closer_look=False),  # the host waits for a click's first look
    )
    plain, packing = (
        Tracker(model_with(LITTLE, weights), torch.device("cpu"), options) for _ in range(2)
    )
    buffers = Counting()
    expected, found = [], []
    for tracker in (plain, packing):
        if tracker is packing:
            packing._frame_step._host_buffers = buffers
        sessions = [tracker.open_session() for _ in range(2)]
        for index in range(4):
            prompts = [[click(1), click(2)] if index == 0 else [], [click(3)] if index == 2 else []]
            with Reads() as reads, Waits() as waits:
                tracks = tracker.step(
                    [
                        (session, little_picture(index, 50, 61), own)
                        for session, own in zip(sessions, prompts, strict=True)
                    ]
                )
            (found if tracker is packing else expected).extend(
                track for own in tracks for track in own
            )
            if tracker is packing:
                assert reads.found == []
                assert waits.found == []
    assert buffers.transfers == 4
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours.mask, theirs.mask)
        np.testing.assert_array_equal(ours.logits, theirs.logits)
        assert (ours.box_xyxy, ours.area) == (theirs.box_xyxy, theirs.area)
