"""Overload begins after a delay, ends after a longer one, and reports every lowered rate."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.inference.load.meter import WINDOW_NS, Load, LoadMeter, StreamLoad
from streamer.inference.load.overload import RECOVERED_SHARE, USED_SHARE, Overload
from streamer.inference.load.rate_shares import OverloadPolicy


class Machine:
    """Tracks ``capacity_hz`` frames a second, of as many as are let through."""

    def __init__(
        self, policy: OverloadPolicy = OverloadPolicy.LOWER_RATE, capacity_hz: float = 40.0
    ) -> None:
        self.overload = Overload(policy, floor_hz=1.0, begin_after_s=2.0, end_after_s=5.0)
        self.capacity_hz = capacity_hz
        self.tracked: dict[str, float] = {}

    def second(self, priorities: dict[str, int] | None = None, **rates_hz: float) -> list[str]:
        """One second of frames at the given rates; return what is reported."""
        wanted = {
            name: min(rate, self.overload.rates_hz.get(name, rate))
            for name, rate in rates_hz.items()
        }
        share = min(1.0, self.capacity_hz / max(sum(wanted.values()), 1e-9))
        self.tracked = {name: rate * share for name, rate in wanted.items()}
        load = Load(
            window_s=1.0,
            busy_s=sum(self.tracked.values()) / self.capacity_hz,
            streams={
                name: StreamLoad(
                    round(rate), round(self.tracked[name]), (priorities or {}).get(name, 5)
                )
                for name, rate in rates_hz.items()
            },
        )
        return [
            f"{each.stream_id} {'lowered' if each.is_lowered else 'free'}"
            for each in self.overload.observe(load)
        ]


def test_streams_that_fit_are_never_lowered() -> None:
    machine = Machine()
    for _ in range(20):
        assert machine.second(gate=15, yard=20) == []
    assert machine.overload.load_ratio == pytest.approx(35 / 40, rel=0.05)


def test_overload_begins_after_its_time_and_ends_after_a_longer_one() -> None:
    machine = Machine()
    assert machine.second(gate=30, yard=30) == []
    assert machine.second(gate=30, yard=30) == ["gate lowered", "yard lowered"]
    for _ in range(5):
        assert machine.second(gate=30, yard=30) == []
    rates = machine.overload.rates_hz
    assert rates["gate"] == rates["yard"] == pytest.approx(USED_SHARE * 20, rel=0.05)
    reports = [machine.second(gate=10, yard=10) for _ in range(10)]
    over = [second for second, each in enumerate(reports) if each]
    assert len(over) == 1
    assert 5 <= over[0] + 1 <= 8
    assert reports[over[0]] == ["gate free", "yard free"]
    assert machine.overload.rates_hz == {}


def test_short_peak_is_no_overload() -> None:
    machine = Machine()
    for _ in range(5):
        assert machine.second(gate=15, yard=15) == []
        assert machine.second(gate=80, yard=80) == []


@given(seed=st.integers(0, 1 << 32))
def test_load_about_the_limit_does_not_flicker(seed: int) -> None:
    machine, dice = Machine(capacity_hz=200), Random(seed)
    reports = [
        machine.second(gate=200 * dice.uniform(RECOVERED_SHARE + 0.02, 1.25)) for _ in range(60)
    ]
    assert len([each for each in reports if each]) <= 1


def test_priority_decides_which_stream_is_lowered_and_the_floor_holds() -> None:
    machine = Machine(OverloadPolicy.PRIORITY_FIRST)
    priorities = {"gate": 9, "hall": 5, "yard": 0}
    for _ in range(6):
        machine.second(priorities, gate=30, hall=30, yard=30)
    assert "gate" not in machine.overload.rates_hz
    assert machine.overload.rates_hz["yard"] == 1.0
    assert 3 < machine.overload.rates_hz["hall"] < 7
    assert machine.overload.lowered == {"hall", "yard"}


def test_stream_added_under_overload_is_reported_and_one_that_left_is_not() -> None:
    machine = Machine()
    for _ in range(3):
        machine.second(gate=30, yard=30)
    assert machine.second(gate=30, yard=30, late=30) == ["late lowered"]
    machine.overload.forget("yard")
    reports = [machine.second(gate=10, late=10) for _ in range(12)]
    assert [each for each in reports if each] == [["gate free", "late free"]]


def test_file_that_waits_for_the_tracker_is_no_overload() -> None:
    overload = Overload(OverloadPolicy.LOWER_RATE, 1.0, 2.0, 5.0)
    load = Load(1.0, 1.0, {"file": StreamLoad(40, 40, lossless=True)})
    for _ in range(10):
        assert overload.observe(load) == []
    assert overload.rates_hz == {}


def test_details_contain_the_measured_numbers() -> None:
    machine = Machine()
    machine.second(gate=80)
    load = Load(1.0, 1.0, {"gate": StreamLoad(80, 40)})
    (change,) = machine.overload.observe(load)
    assert change.detail == (
        "lower_rate: 36.0 of 80.0 frames/s are tracked; all streams ask for 80 frames/s, this "
        "machine tracks 40 (25.0 ms a frame)"
    )


def test_windows_hold_what_happened_within_them() -> None:
    meter = LoadMeter(now_ns=0)
    meter.rested(WINDOW_NS // 4)
    meter.tracked("gate")
    assert not meter.is_due(WINDOW_NS - 1)
    assert meter.is_due(WINDOW_NS)
    first = meter.window(WINDOW_NS, {"gate": 3}, {"gate": 7}, frozenset())
    assert first == Load(1.0, 0.75, {"gate": StreamLoad(3, 1, 7)})
    second = meter.window(3 * WINDOW_NS, {"gate": 8, "file": 2}, {}, frozenset({"file"}))
    assert second == Load(
        2.0, 2.0, {"gate": StreamLoad(5, 0), "file": StreamLoad(2, 0, lossless=True)}
    )


def test_newest_policy_reports_overload_and_lowers_no_stream() -> None:
    machine = Machine(OverloadPolicy.NEWEST)
    reports = [machine.second(gate=30, yard=30) for _ in range(3)]
    assert reports == [[], ["gate lowered", "yard lowered"], []]
    assert machine.overload.rates_hz == {}
    assert sum(machine.tracked.values()) == pytest.approx(40)
    assert [machine.second(gate=10, yard=10) for _ in range(12)].count(
        ["gate free", "yard free"]
    ) == 1
