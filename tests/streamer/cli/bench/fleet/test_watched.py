"""What a fault did to a stream, from what arrived before and after it."""

from __future__ import annotations

import pytest

from streamer.cli.bench.fleet.watched import (
    Arrival,
    StreamOutcome,
    latencies_s,
    nearest_rank,
    outcome_of,
    undisturbed,
)

FAULT_S = 10.0


def arrivals(worker: str, first: int, last: int, *ids: int, late_s: float = 0.1) -> list[Arrival]:
    """Two frames a second: ``first`` to ``last``."""
    return [
        Arrival("gate", worker, number / 2, number / 2 + late_s, ids)
        for number in range(first, last + 1)
    ]


def test_stream_that_comes_up_elsewhere() -> None:
    seen = [*arrivals("w1", 0, 19, 1, 7), *arrivals("w2", 26, 40, 1, 7)]
    outcome = outcome_of(seen, "gate", "w1", FAULT_S, 2.0)
    assert outcome == StreamOutcome("gate", pytest.approx(3.1), pytest.approx(3.5), 6, 0, True)


def test_stream_that_two_workers_track_is_counted() -> None:
    seen = [*arrivals("w1", 0, 30, 1), *arrivals("w2", 26, 40, 1)]
    outcome = outcome_of(seen, "gate", "w1", FAULT_S, 2.0)
    assert outcome.tracked_twice == 5
    assert outcome.lost == 0


def test_late_results_of_an_earlier_worker_are_not_the_next_one() -> None:
    seen = [*arrivals("w0", 0, 3, 1, late_s=9.0), *arrivals("w1", 4, 19, 1)]
    seen += arrivals("w2", 26, 40, 1)
    assert outcome_of(seen, "gate", "w1", FAULT_S, 2.0).up_again_s == pytest.approx(3.1)


def test_objects_with_other_ids_are_not_the_same() -> None:
    seen = [*arrivals("w1", 0, 19, 1, 7), *arrivals("w2", 26, 40, 1, 8)]
    assert not outcome_of(seen, "gate", "w1", FAULT_S, 2.0).same_ids


def test_stream_that_never_comes_up() -> None:
    outcome = outcome_of(arrivals("w1", 0, 19, 1), "gate", "w1", FAULT_S, 2.0)
    assert outcome.up_again_s is None


def test_stream_that_stays_shows_its_longest_silence() -> None:
    whole = undisturbed(arrivals("w1", 0, 40, 1), "gate", FAULT_S, 2.0)
    assert whole == StreamOutcome("gate", pytest.approx(0.5), pytest.approx(0.5), 0, 0, True)
    gap = [*arrivals("w1", 0, 22, 1), *arrivals("w1", 27, 40, 1)]
    broken = undisturbed(gap, "gate", FAULT_S, 2.0)
    assert broken == StreamOutcome("gate", pytest.approx(2.5), pytest.approx(2.5), 4, 0, True)


def test_stream_that_moves_for_another_reason_is_not_tracked_twice() -> None:
    moved = [*arrivals("w1", 0, 30, 1), *arrivals("w2", 31, 40, 1)]
    assert undisturbed(moved, "gate", FAULT_S, 2.0).tracked_twice == 0
    twice = [*arrivals("w1", 0, 34, 1), *arrivals("w2", 31, 40, 1)]
    assert undisturbed(twice, "gate", FAULT_S, 2.0).tracked_twice == 4


def test_planned_move_has_a_gap_of_its_own() -> None:
    """The next worker begins long after it was asked for; the former one tracks until then."""
    seen = [*arrivals("w1", 0, 25, 1), *arrivals("w2", 26, 40, 1)]
    outcome = outcome_of(seen, "gate", "w1", FAULT_S, 2.0)
    assert outcome == StreamOutcome("gate", pytest.approx(3.1), pytest.approx(0.5), 0, 0, True)


def test_latencies_are_those_of_the_named_streams_in_the_time() -> None:
    seen = arrivals("w1", 0, 40, late_s=0.25)
    assert latencies_s(seen, {"gate"}, 0, 5) == [0.25] * 10
    assert latencies_s(seen, {"yard"}, 0, 5) == []


def test_rank_of_latencies() -> None:
    assert nearest_rank(range(1, 101), 0.99) == 99
    assert nearest_rank([3.0, 1.0], 0.5) == 1.0
    assert nearest_rank([], 0.99) is None
