"""A backlog is told from a stream that is read at its live edge, whatever its packets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from streamer.sources.backlog import Backlog


class Clock:
    """Time as reading and decoding spend it."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr("streamer.sources.backlog.time", clock)
    return clock


def behind(clock: Clock, backlog: Backlog, *, waits_s: float, works_s: float, packets: int) -> int:
    found = 0
    for _ in range(packets):
        clock.now_s += waits_s
        found += backlog.grows(waits_s)
        clock.now_s += works_s
    return found


def test_reading_without_waiting_is_a_backlog_until_the_live_edge(clock: Clock) -> None:
    backlog = Backlog(2.0)
    assert behind(clock, backlog, waits_s=0.0, works_s=0.05, packets=40) == 0  # two seconds
    assert behind(clock, backlog, waits_s=0.0, works_s=0.001, packets=100) >= 98
    assert behind(clock, backlog, waits_s=0.02, works_s=0.02, packets=100) == 0


def test_what_piled_up_during_one_pause_is_decoded(clock: Clock) -> None:
    backlog = Backlog(2.0)
    clock.now_s += 10.0
    assert behind(clock, backlog, waits_s=0.0, works_s=0.005, packets=250) == 0
    assert behind(clock, backlog, waits_s=0.02, works_s=0.005, packets=100) == 0


@pytest.mark.parametrize(
    ("waits_s", "works_s"),
    [(0.0009, 0.0001), (0.0001, 0.0009), (0.002, 0.038)],
    ids=["many small packets", "many packets, most of the time decoding", "95 % decoding"],
)
def test_short_waits_of_many_packets_are_no_backlog(
    clock: Clock, waits_s: float, works_s: float
) -> None:
    count = round(10 / (waits_s + works_s))
    assert not behind(clock, Backlog(2.0), waits_s=waits_s, works_s=works_s, packets=count)
