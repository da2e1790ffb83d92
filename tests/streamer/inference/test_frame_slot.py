"""The slot holds the newest frame and accounts for every other one."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from streamer.inference.frame_slot import FrameSlot
from streamer.types import DropReason, Frame
from tests.conftest import eventually
from tests.streamer.fakes import picture


class Totals:
    """Losses the slot reported, and how often it reported being filled."""

    def __init__(self) -> None:
        self.lost: dict[str, int] = {}
        self.filled = 0
        self.slot = FrameSlot("gate", self._count_filled, self._count_lost)

    def _count_filled(self) -> None:
        self.filled += 1

    def _count_lost(self, reason: DropReason, count: int) -> None:
        self.lost[reason] = self.lost.get(reason, 0) + count


def test_newest_frame_wins_and_reports_what_it_replaced() -> None:
    totals = Totals()
    for number in range(4):
        totals.slot.put(picture(number), "session", now_monotonic_ns=number)
    frame = totals.slot.take()
    assert frame is not None
    assert (frame.picture.pts, frame.index) == (3, 3)
    assert frame.dropped_before == {"superseded": 3}
    assert totals.slot.take() is None
    assert totals.lost == {"superseded": 3}


def test_frame_that_replaces_another_keeps_its_place_in_the_line() -> None:
    slot = Totals().slot
    assert slot.waiting_since_monotonic_ns is None
    slot.put(picture(0), "session", now_monotonic_ns=10)
    slot.put(picture(1), "session", now_monotonic_ns=20)
    assert slot.waiting_since_monotonic_ns == 10


def test_losses_travel_with_the_frame_that_follows_them() -> None:
    totals = Totals()
    slot = totals.slot
    slot.put(picture(0), "session", 0)
    slot.count_lost(DropReason.CORRUPT, 2)
    first = slot.take()
    slot.refuse(DropReason.RATE_LIMIT)
    slot.put(picture(2), "session", 0)
    second = slot.take()
    assert first is not None
    assert first.dropped_before == {}
    assert second is not None
    assert second.dropped_before == {"corrupt": 2, "rate_limit": 1}
    assert second.index == 2


def test_failed_frame_is_reported_with_the_next_one_even_if_that_waits_already() -> None:
    slot = Totals().slot
    slot.count_lost(DropReason.CORRUPT, 1)
    slot.put(picture(0), "session", 0)
    failed = slot.take()
    assert failed is not None
    slot.put(picture(1), "session", 0)
    slot.count_failed(failed)
    waiting = slot.take()
    assert waiting is not None
    assert waiting.dropped_before == {"corrupt": 1, "failed": 1}


@given(
    st.lists(
        st.sampled_from(["put", "take", "refuse", "corrupt", "failed"]), min_size=1, max_size=60
    )
)
def test_every_frame_is_taken_waiting_or_counted_as_lost_once(actions: list[str]) -> None:
    totals = Totals()
    slot = totals.slot
    taken: list[Frame] = []
    for action in actions:
        if action == "put":
            slot.put(picture(), "session", 0)
        elif action == "refuse":
            slot.refuse(DropReason.RATE_LIMIT)
        elif action == "corrupt":
            slot.count_lost(DropReason.CORRUPT, 1)
        elif action == "failed" and taken:
            slot.count_failed(taken.pop())
        elif action == "take" and (frame := slot.take()) is not None:
            taken.append(frame)
    slot.put(picture(), "session", 0)  # carries the unreported losses
    last = slot.take()
    assert last is not None
    reported: dict[str, int] = {}
    for frame in [*taken, last]:
        for reason, count in frame.dropped_before.items():
            reported[reason] = reported.get(reason, 0) + count
    assert reported == totals.lost
    assert totals.filled == actions.count("put") + 1
    assert totals.filled == len(taken) + 1 + reported.get("superseded", 0) + reported.get(
        "failed", 0
    )
    assert last.index == actions.count("put") + actions.count("refuse")
    assert [frame.index for frame in taken] == sorted({frame.index for frame in taken})


def test_lossless_put_waits_until_the_frame_before_was_taken() -> None:
    totals = Totals()
    slot, stop = totals.slot, threading.Event()

    def put_all() -> None:
        for number in range(5):
            slot.put_when_taken(picture(number), "session", lambda: 0, stop)
        slot.wait_until_taken(stop)

    thread = threading.Thread(target=put_all)
    thread.start()
    frames = [eventually(slot.take) for _ in range(5)]
    thread.join(10)
    assert [frame.picture.pts for frame in frames if frame] == [0, 1, 2, 3, 4]
    assert totals.lost == {}


def test_lossless_put_gives_up_when_stopped_or_closed() -> None:
    for end in ("stop", "close"):
        slot, stop = Totals().slot, threading.Event()
        slot.put(picture(0), "session", 0)
        thread = threading.Thread(
            target=slot.put_when_taken, args=(picture(1), "session", lambda: 0, stop)
        )
        thread.start()
        if end == "stop":
            stop.set()
        else:
            slot.close()
        thread.join(10)
        assert not thread.is_alive()


def test_closed_slot_holds_and_counts_nothing() -> None:
    totals = Totals()
    totals.slot.put(picture(0), "session", 0)
    totals.slot.close()
    totals.slot.put(picture(1), "session", 0)
    totals.slot.count_lost(DropReason.CORRUPT, 1)
    assert totals.slot.take() is None
    assert totals.lost == {}
