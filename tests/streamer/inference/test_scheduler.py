"""The scheduler gathers, but never for long, and serves every stream in turn."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from streamer.inference.scheduler import Batch, Scheduler, Wait

WAIT_NS = 2_000_000
SECOND_NS = 1_000_000_000
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


def test_forgotten_stream_restarts() -> None:
    scheduler = Scheduler(0, 1)
    scheduler.decide(0, {"a": 0}, 1)
    scheduler.forget("a")
    assert scheduler.decide(1, {"a": 0, "b": 1}, 2) == Batch(("a",))


def test_higher_priority_goes_first() -> None:
    scheduler = Scheduler(0, 2)
    scheduler.prioritise("gate", 9)
    scheduler.prioritise("yard", 1)
    waiting = {"hall": 1, "yard": 2, "gate": 3}
    assert scheduler.decide(4, waiting, 3) == Batch(("gate", "yard"))
    assert scheduler.decide(5, waiting, 3) == Batch(("gate", "yard"))


@settings(max_examples=40)
@given(
    priorities=st.lists(st.integers(0, 9), min_size=2, max_size=12),
    max_batch_size=st.integers(1, 4),
    step_ms=st.integers(1, 400),
)
def test_lowest_priority_is_served_about_once_a_starving_time(
    priorities: list[int], max_batch_size: int, step_ms: int
) -> None:
    scheduler = Scheduler(0, max_batch_size, starving_after_ns=SECOND_NS)
    names = [f"cam{number}" for number in range(len(priorities))]
    for name, priority in zip(names, priorities, strict=True):
        scheduler.prioritise(name, priority)
    served_ns = dict.fromkeys(names, 0)
    step_ns = step_ms * 1_000_000
    round_ns = step_ns * math.ceil(len(names) / max_batch_size)
    now_ns = 0
    while now_ns < 5 * SECOND_NS:
        decision = scheduler.decide(now_ns, dict.fromkeys(names, 0), len(names))
        assert isinstance(decision, Batch)
        for name in decision.stream_ids:
            served_ns[name] = now_ns
        now_ns += step_ns
        # Each starving stream waits for those that starve longer: a round of all at most.
        assert now_ns - min(served_ns.values()) <= SECOND_NS + round_ns + step_ns


@settings(max_examples=40)
@given(
    rate_hz=st.floats(0.5, 50),
    frame_rate_hz=st.floats(1, 120),
    free_hz=st.floats(1, 40),
    wait_ms=st.integers(0, 20),
)
def test_limited_stream_is_served_at_its_rate_and_others_as_they_come(
    rate_hz: float, frame_rate_hz: float, free_hz: float, wait_ms: int
) -> None:
    scheduler = Scheduler(wait_ms * 1_000_000, 4)
    scheduler.limit_rates({"limited": rate_hz})
    served: dict[str, list[int]] = {"limited": [], "free": []}
    arrivals = {"limited": frame_rate_hz, "free": free_hz}
    next_ns = dict.fromkeys(arrivals, 0)
    waiting: dict[str, int] = {}
    now_ns = 0
    while now_ns < 4 * SECOND_NS:
        for name, rate in arrivals.items():
            if next_ns[name] <= now_ns:
                waiting.setdefault(name, next_ns[name])
                next_ns[name] += round(SECOND_NS / rate)
        decision = scheduler.decide(now_ns, waiting, 2)
        if isinstance(decision, Wait):
            later_ns = min(next_ns.values())
            if decision.wait_ns is not None:
                assert decision.wait_ns > 0
                later_ns = min(later_ns, now_ns + decision.wait_ns)
            now_ns = later_ns
            continue
        for name in decision.stream_ids:
            served[name].append(now_ns)
            del waiting[name]
    assert len(served["limited"]) - 1 <= 4 * rate_hz + 1
    assert len(served["limited"]) >= 4 * min(rate_hz, frame_rate_hz) / 2 - 2
    assert len(served["free"]) >= 4 * free_hz - 2


def test_streams_of_one_limited_rate_share_their_batches() -> None:
    scheduler = Scheduler(WAIT_NS, 8)
    scheduler.limit_rates({"a": 10.0, "b": 10.0, "c": 2.0})
    waiting = {"a": 0, "b": 0, "c": 0}
    assert scheduler.decide(0, waiting, 3) == Batch(("a", "b", "c"))
    assert scheduler.decide(1, waiting, 3) == Wait(99_999_999)
    assert scheduler.decide(100_000_000, {"a": 1, "b": 1, "c": 1}, 3) == Batch(("a", "b"))


def test_rates_that_are_lifted_are_forgotten() -> None:
    scheduler = Scheduler(0, 8)
    scheduler.limit_rates({"a": 1.0})
    assert scheduler.decide(5, {"a": 0}, 1) == Batch(("a",))
    assert isinstance(scheduler.decide(6, {"a": 0}, 1), Wait)
    scheduler.limit_rates({})
    assert scheduler.decide(7, {"a": 0}, 1) == Batch(("a",))


def test_batch_can_be_cut_and_stays_within_what_was_made() -> None:
    scheduler = Scheduler(0, 3)
    waiting = {"a": 0, "b": 0, "c": 0, "d": 0}
    scheduler.limit_batch(2)
    assert scheduler.decide(1, waiting, 4) == Batch(("a", "b"))
    scheduler.limit_batch(0)
    assert scheduler.decide(2, waiting, 4) == Batch(("c",))
    scheduler.limit_batch(99)
    assert scheduler.batch_size == 3
