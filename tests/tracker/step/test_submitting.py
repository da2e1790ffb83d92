"""Submitting a step asks a device for nothing, and waits for no copy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from tests.tracker.ahead import POLICIES, Ahead, assert_identical, tracker_of
from tests.tracker.little import click, little_picture
from tests.tracker.step.test_device_waits import Counting, Reads, Waits
from tracker import Prompt, RobustOptions
from tracker.host_arrays import HostBuffers
from tracker.step.pending_step import PendingStep

SQUARE = np.zeros((64, 64), np.bool_)
SQUARE[20:40, 10:30] = True
PROMPTS = {
    0: [click(1), click(2)],
    3: [click(1, 40, 40)],
    4: [Prompt(3, box_xyxy=(5, 5, 30, 30))],
}
# A mask prompt is checked on the host, which counting reads cannot distinguish from a device wait.
ALL_PROMPTS = PROMPTS | {5: [Prompt(4, mask=SQUARE)]}


class Uploads(TorchFunctionMode):
    """Collects what would be copied to a device from memory that is not pinned: that waits."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        name = getattr(function, "__name__", "")
        if name in {"__getitem__", "__setitem__"}:
            places = arguments[1] if isinstance(arguments[1], tuple) else (arguments[1],)
            if any(isinstance(place, (list, np.ndarray)) for place in places):
                self.found.append(name)
        elif name in {"tensor", "as_tensor"}:
            self.found.append(name)
        return function(*arguments, **(options or {}))


def test_lists_that_a_device_would_need_are_noticed() -> None:
    numbers = torch.arange(3)
    with Uploads() as uploads:
        numbers[[0, 1]] = torch.tensor([5, 6])
        assert numbers[np.array([0])].sum() == 5
    assert uploads.found == ["tensor", "__setitem__", "__getitem__"]


@POLICIES
def test_submitting_reads_nothing_and_waits_for_nothing(robust: RobustOptions | None) -> None:
    # The host waits for a click's first look.
    tracker = tracker_of(robust and replace(robust, closer_look=False))
    tracker.step([(tracker.open_session(), little_picture(0), [click(1)])])  # makes constants
    buffers = tracker._frame_step._host_buffers = Counting()
    session = tracker.open_session()
    before: PendingStep | None = None
    pictures = [little_picture(index) for index in range(7)]
    for index, picture in enumerate(pictures):
        with Uploads() as uploads, Reads() as reads, Waits() as waits:
            pending = tracker.submit([(session, picture, PROMPTS.get(index, []))])
        assert reads.found == []
        assert waits.found == []
        assert uploads.found == []
        if before is not None:
            before.collect()
        before = pending
    assert buffers.transfers == 7


def test_unread_results_are_moved_before_their_buffer_is_reused() -> None:
    buffers = HostBuffers(pinned=False)
    numbers = [torch.full((50,), float(value)) for value in range(4)]
    transfers = [buffers.begin([each, each.to(torch.uint8)]) for each in numbers]
    for value, transfer in enumerate(transfers):
        first, second = transfer.arrays()
        assert (first == value).all()
        assert (second == value).all()
    assert buffers.bytes == 2 * 272  # 200 and 50 bytes, each filled up to 16


@pytest.mark.gpu
@POLICIES
def test_on_a_device_submitting_synchronises_nothing(robust: RobustOptions | None) -> None:
    """Not run by us. Events are waited for by ``collect``, and by the robust policy's ``submit``
    for the step before; neither counts as a synchronisation of the device."""
    tracker = tracker_of(robust, device="cuda")
    tracker.warm_up()
    session = tracker.open_session()
    # Once as it will be: shapes of prompts are met, graphs and pinned memory are made.
    for index in range(8):
        tracker.step([(session, little_picture(index), ALL_PROMPTS.get(index, []))])
    for object_id in session.object_ids:
        session.remove(object_id)
    before: PendingStep | None = None
    for index in range(8):
        torch.cuda.set_sync_debug_mode("error")
        try:
            pending = tracker.submit([(session, little_picture(index), ALL_PROMPTS.get(index, []))])
        finally:
            torch.cuda.set_sync_debug_mode("default")
        if before is not None:
            before.collect()
        before = pending


@pytest.mark.gpu
@POLICIES
def test_on_a_device_steps_submitted_ahead_find_the_same(robust: RobustOptions | None) -> None:
    """Not run by us."""
    plain, ahead = tracker_of(robust, device="cuda"), Ahead(tracker_of(robust, device="cuda"))
    assert ahead.tracker.overlaps
    session, other = ahead.tracker.open_session(), plain.open_session()
    for index in range(30):
        prompts = ALL_PROMPTS.get(index, [])
        ahead.step([(session, little_picture(index), prompts)])
        theirs = plain.step([(other, little_picture(index), prompts)])
        ahead.end()
        assert_identical(ahead.results[-1][0], theirs[0])
