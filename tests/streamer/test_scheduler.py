"""The scheduler gathers, but never for long, and serves every stream in turn."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from streamer.scheduler import Batch, Scheduler, Wait

WAIT_NS = 2_000_000
stream_ids = st.sampled_from([f"cam{number}" for number in range(9)])


def test_no_frame_waits_without_end() -> None:
    assert Scheduler(WAIT_NS, 4).decide(0, {}, live_streams=3) == Wait(None)


def test_single_stream_never_waits_for_company() -> None:
    assert Scheduler(WAIT_NS, 4).decide(0, {"gate": 0}, live_streams=1) == Batch(("gate",))


def test_batch_goes_when_every_live_stream_has_a_frame() -> None:
    scheduler = Scheduler(WAIT_NS, 4)
    assert scheduler.decide(500_000, {"gate": 0}, live_streams=2) == Wait(1_500_000)
    assert scheduler.decide(600_000, {"gate": 0, "yard": 600_000}, live_streams=2) == Batch(
        ("gate", "yard")
    )


def test_batch_goes_when_its_oldest_frame_has_waited_enough() -> None:
    assert Scheduler(WAIT_NS, 4).decide(WAIT_NS, {"gate": 0}, live_streams=9) == Batch(("gate",))


def test_full_batch_goes_at_once() -> None:
    scheduler = Scheduler(WAIT_NS, 2)
    assert scheduler.decide(5, {"a": 3, "b": 1, "c": 2}, live_streams=9) == Batch(("b", "c"))
    assert scheduler.decide(5, {"a": 3, "b": 5, "c": 5}, live_streams=9) == Batch(("a", "b"))


@given(
    waiting=st.dictionaries(stream_ids, st.integers(0, 10_000_000), max_size=9),
    now_ns=st.integers(0, 20_000_000),
    live_streams=st.integers(0, 12),
    max_batch_size=st.integers(1, 5),
)
def test_decision_is_sound_in_every_situation(
    waiting: dict[str, int], now_ns: int, live_streams: int, max_batch_size: int
) -> None:
    decision = Scheduler(WAIT_NS, max_batch_size).decide(now_ns, waiting, live_streams)
    if isinstance(decision, Batch):
        assert decision.stream_ids
        assert len(set(decision.stream_ids)) == len(decision.stream_ids) <= max_batch_size
        assert set(decision.stream_ids) <= waiting.keys()
        full = len(waiting) >= min(live_streams, max_batch_size)
        assert full or now_ns - min(waiting.values()) >= WAIT_NS
    elif waiting:
        assert decision.wait_ns is not None
        assert decision.wait_ns > 0
        assert now_ns + decision.wait_ns == min(waiting.values()) + WAIT_NS
    else:
        assert decision.wait_ns is None


@given(
    streams=st.integers(1, 9),
    max_batch_size=st.integers(1, 5),
    arrivals=st.lists(st.lists(st.integers(0, 8), max_size=6), min_size=1, max_size=30),
)
def test_waiting_stream_is_served_within_a_round(
    streams: int, max_batch_size: int, arrivals: list[list[int]]
) -> None:
    scheduler = Scheduler(0, max_batch_size)
    waiting: dict[str, int] = {}
    passed_over: dict[str, int] = {}
    for now_ns, arriving in enumerate(arrivals):
        for number in arriving:
            waiting.setdefault(f"cam{number % streams}", now_ns)
        decision = scheduler.decide(now_ns, waiting, live_streams=streams)
        if isinstance(decision, Wait):
            continue
        for stream_id in decision.stream_ids:
            waiting.pop(stream_id)
            passed_over.pop(stream_id, None)
        for stream_id in waiting:
            passed_over[stream_id] = passed_over.get(stream_id, 0) + 1
            assert passed_over[stream_id] < math.ceil(streams / max_batch_size)


def test_forgotten_stream_begins_anew() -> None:
    scheduler = Scheduler(0, 1)
    scheduler.decide(0, {"a": 0}, 1)
    scheduler.forget("a")
    assert scheduler.decide(1, {"a": 0, "b": 1}, 2) == Batch(("a",))
