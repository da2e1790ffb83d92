"""A device that runs out of memory goes on with smaller batches, then with a smaller image."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.tracker.little import assert_all_same, click, little_picture, little_tracker
from tracker import Track, Tracker
from tracker.engine.calls import Call, Calls
from tracker.options import EngineOptions

FIXED = EngineOptions(fixed_shapes="on", row_sizes=(1, 2, 4, 8), image_sizes=(1, 2))
REPORT = "CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has"


class LittleMemory(Calls):
    """Refuses calls for which ``fits`` is false."""

    def __init__(self, fits: Callable[[str, tuple[int, ...]], bool]) -> None:
        super().__init__(torch.device("cpu"))
        self.fits = fits

    def _count(self, call: Call) -> None:
        table = next((each for each in call.tables if each is not None), None)
        shape = () if table is None else tuple(table.shape[1:])
        if not self.fits(call.name, (call.size, *shape)):
            raise torch.OutOfMemoryError(REPORT)
        super()._count(call)


def tracker_with(fits: Any, engine: EngineOptions = FIXED) -> Tracker:
    tracker = little_tracker(engine=engine)
    tracker._engine.calls = LittleMemory(fits)
    return tracker


def tracked(tracker: Tracker, objects: int = 6, frames: int = 3) -> list[list[Track]]:
    session = tracker.open_session()
    clicks = [click(each, 8 + 8 * each, 30) for each in range(objects)]
    return [
        tracker.step([(session, little_picture(index), clicks if index == 0 else [])])[0]
        for index in range(frames)
    ]


def at_most(rows: int) -> Callable[[str, tuple[int, ...]], bool]:
    return lambda name, shape: shape[0] <= rows


def test_batches_that_do_not_fit_at_the_start_are_not_used(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tracker = tracker_with(at_most(2))
    tracker.warm_up()
    assert caplog.messages == [
        f"cpu has too little memory for {size} objects at once: at most {size // 2} from here on"
        for size in (8, 4)
    ]
    found = tracked(tracker)
    for own, other in zip(found, tracked(little_tracker()), strict=True):
        assert_all_same(own, other)
    assert tracker.engine_counts.in_service == 0


def test_in_service_a_step_is_repeated_with_smaller_batches(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tracker = tracker_with(at_most(8))
    tracker.warm_up()
    tracker._engine.calls.fits = at_most(2)  # type: ignore[attr-defined]
    found = tracked(tracker)
    for own, other in zip(found, tracked(little_tracker()), strict=True):
        assert_all_same(own, other)
    assert tracker.engine_counts.in_service == 0
    (message,) = caplog.messages
    assert message.startswith("out of memory; batches of at most 2 objects and images")
    assert message.endswith("CUDA out of memory. Tried to allocate 2.00 GiB.")


def test_where_no_single_row_fits_the_image_becomes_smaller(
    caplog: pytest.LogCaptureFixture,
) -> None:
    big = EngineOptions(fixed_shapes="on", row_sizes=(1, 2), image_sizes=(1,), image_size=128)
    tracker = tracker_with(lambda name, shape: name != "encode_image" or shape[2] < 128, big)
    tracker.warm_up()
    assert tracker.config.image_size == 96
    assert "images of 96 instead of 128 pixels from here on" in caplog.messages[-1]
    own = little_tracker(engine=EngineOptions(image_size=96))
    for ours, theirs in zip(tracked(tracker, 2), tracked(own, 2), strict=True):
        assert_all_same(ours, theirs)
    tracker.set_image_size(128)  # of ``image_sizes``, and does not fit
    assert tracker.config.image_size == 96


def test_a_step_that_fails_when_it_is_collected_can_be_submitted_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tracker = tracker_with(at_most(8))
    tracker.warm_up()
    calls: Any = tracker._engine.calls
    calls.fits = lambda name, shape: name != "write" or shape[0] <= 2
    session = tracker.open_session()
    with pytest.raises(torch.OutOfMemoryError):
        tracker.step([(session, little_picture(0), [click(each) for each in range(6)])])
    assert session.object_ids == ()
    (message,) = caplog.messages
    assert message.startswith("out of memory; batches of at most 2 objects and images")
    for own, other in zip(tracked(tracker), tracked(little_tracker()), strict=True):
        assert_all_same(own, other)
    assert tracker.engine_counts.in_service == 0


def test_where_nothing_fits_the_error_says_so() -> None:
    tracker = tracker_with(lambda name, shape: False)
    with pytest.raises(torch.OutOfMemoryError, match="one object at 64 pixels does not fit"):
        tracker.warm_up()


def test_a_rare_call_that_does_not_fit_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    tracker = tracker_with(at_most(8))
    tracker.warm_up()
    assert tracker.warm_next()
    tracker._engine.calls.fits = lambda name, shape: False  # type: ignore[attr-defined]
    with caplog.at_level(logging.WARNING):
        while tracker.warm_next():
            pass
    assert caplog.messages[-1].startswith("out of memory; rare batches and other image sizes")
    tracker._engine.calls.fits = at_most(8)  # type: ignore[attr-defined]
    tracked(tracker)
    assert tracker.engine_counts.in_service == 0
