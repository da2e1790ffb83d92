"""NTP arithmetic, whether a sender's clock is believed, and what its faults do to capture times."""

from __future__ import annotations

import datetime
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.runtime.clock import NANOSECONDS_PER_SECOND, seconds_to_ns
from streamer.types import ClockSource, DecodedFrame, RgbPixels
from streamer.webrtc.rtp_clock import RtpCaptureClock, ntp_to_unix_ns, rtp_difference

timestamps = st.integers(0, 2**32 - 1)


def ntp(text: str, fraction: int = 0) -> int:
    """The NTP timestamp of a date, in its era."""
    moment = datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC)
    epoch = datetime.datetime(1900, 1, 1, tzinfo=datetime.UTC)
    seconds = (moment - epoch) // datetime.timedelta(seconds=1)
    return (seconds & 0xFFFFFFFF) << 32 | fraction


@pytest.mark.parametrize(
    ("text", "fraction", "unix_ns"),
    [
        ("1970-01-01", 0, 0),
        ("2000-01-01", 1 << 31, 946_684_800_500_000_000),
        ("2026-03-01T12:00:00", 0, 1_772_366_400_000_000_000),
        ("2036-02-07T06:28:15", 0xFFFFFFFF, 2_085_978_496_000_000_000),
        # The first moment of NTP's second era.
        ("2036-02-07T06:28:16", 0, 2_085_978_496_000_000_000),
        ("2050-01-01", 0, 2_524_608_000_000_000_000),
    ],
)
def test_ntp_timestamps(text: str, fraction: int, unix_ns: int) -> None:
    assert ntp_to_unix_ns(ntp(text, fraction)) == unix_ns


@given(timestamps, st.integers(-(2**31), 2**31 - 1))
def test_differences_take_the_shorter_direction(earlier: int, step: int) -> None:
    assert rtp_difference((earlier + step) & 0xFFFFFFFF, earlier) == step


NOW = ntp("2026-03-01T12:00:00")
NOW_NS = ntp_to_unix_ns(NOW)


def test_nothing_is_known_before_the_first_report() -> None:
    assert RtpCaptureClock(10).capture_time_ns(5) is None


@given(timestamps, st.integers(-90_000 * 60, 90_000 * 60))
def test_pictures_before_and_after_a_report_have_their_time(reported: int, ticks: int) -> None:
    clock = RtpCaptureClock(10)
    clock.observe(NOW_NS, reported, NOW_NS)
    expected_ns = NOW_NS + ticks * NANOSECONDS_PER_SECOND // 90_000
    assert clock.capture_time_ns(reported + ticks) == expected_ns


def test_wrong_clock_is_not_used_and_its_error_is_reported() -> None:
    clock = RtpCaptureClock(10)
    clock.observe(ntp_to_unix_ns(ntp("2000-01-01")), 0, NOW_NS)
    assert clock.capture_time_ns(0) is None
    assert clock.implausible_by_s == pytest.approx(-825_681_600)
    for second in range(1, 20):  # the camera's clock is set
        clock.observe(NOW_NS + second * 1_000_000_000, second * 90_000, NOW_NS + second * 10**9)
    assert clock.capture_time_ns(0) == NOW_NS
    assert clock.implausible_by_s is None


def test_reset_waits_for_the_next_report() -> None:
    clock = RtpCaptureClock(10)
    clock.observe(NOW_NS, 0, NOW_NS)
    clock.forget()
    assert clock.capture_time_ns(0) is None


@given(st.integers(0, 2**64 - 1), timestamps, timestamps)
def test_no_report_is_too_strange(ntp_timestamp: int, reported: int, asked: int) -> None:
    clock = RtpCaptureClock(10)
    clock.observe(ntp_to_unix_ns(ntp_timestamp), reported, NOW_NS)
    assert (clock.capture_time_ns(asked) is None) == (clock.implausible_by_s is not None)


RATE_HZ = 25


@dataclass(frozen=True)
class Stamped:
    """What a camera's pictures were stamped with, and what they should have been, in seconds."""

    at_s: list[float]
    capture_s: list[float]
    right_s: list[float]
    sources: list[ClockSource]

    @property
    def runs_on(self) -> bool:
        return all(earlier < later for earlier, later in itertools.pairwise(self.capture_s))

    @property
    def changes(self) -> int:
        return sum(earlier is not later for earlier, later in itertools.pairwise(self.sources))

    def error_s(self, after_s: float) -> float:
        """The largest error from then on."""
        rows = zip(self.at_s, self.capture_s, self.right_s, strict=True)
        return max(abs(capture_s - right_s) for at_s, capture_s, right_s in rows if at_s >= after_s)


def stamped(
    clock_s: Callable[[float], float] = lambda at_s: at_s,
    *,
    wobble_s: Callable[[int], float] = lambda number: 0.0,
    latency_s: Callable[[float], float] = lambda at_s: 0.05,
    every_s: float = 1.0,
    duration_s: float = 60.0,
    tolerance_s: float = 10.0,
) -> Stamped:
    """Stamp the pictures of a camera whose clock shows ``clock_s`` of the time since its start."""
    clock = RtpCaptureClock(tolerance_s)
    result = Stamped([], [], [], [])
    next_report_s, reports, arrival_s = every_s / 2, 0, 0.0
    for index in range(round(duration_s * RATE_HZ)):
        at_s = index / RATE_HZ
        arrival_s = max(arrival_s + 1e-4, at_s + latency_s(at_s))
        arrival_ns = NOW_NS + seconds_to_ns(arrival_s)
        if at_s >= next_report_s:
            shown_ns = NOW_NS + seconds_to_ns(clock_s(at_s) + wobble_s(reports))
            clock.observe(shown_ns, round(at_s * 90_000), arrival_ns)
            next_report_s += every_s
            reports += 1
        picture = clock.stamped(
            DecodedFrame(
                pixels=RgbPixels(np.zeros((1, 1, 3), np.uint8)),
                pts=round(at_s * 90_000),
                time_base=Fraction(1, 90_000),
                capture_time_ns=arrival_ns,
                clock_source=ClockSource.ARRIVAL,
                arrival_time_ns=arrival_ns,
                arrival_monotonic_ns=seconds_to_ns(arrival_s),
                decoded_monotonic_ns=seconds_to_ns(arrival_s),
            )
        )
        result.at_s.append(at_s)
        result.capture_s.append((picture.capture_time_ns - NOW_NS) / 1e9)
        result.right_s.append(clock_s(at_s))
        result.sources.append(picture.clock_source)
    return result


def heavy_tailed(scale_s: float, seed: int) -> Callable[[int], float]:
    """Cauchy noise: every twentieth report is off by more than twelve times its scale."""
    return lambda number: scale_s * math.tan(math.pi * (Random(seed + number).random() - 0.5))


@pytest.mark.parametrize(
    ("wobble_s", "largest_error_s"),
    [
        (lambda number: 0.1 if number % 2 else -0.1, 0.02),
        (lambda number: 0.5 if number % 2 else -0.5, 0.1),
        (lambda number: Random(number).gauss(0, 0.1), 0.1),
        (lambda number: Random(number).gauss(0, 0.3), 0.3),
        (heavy_tailed(0.05, 0), 0.2),
        (heavy_tailed(0.05, 1000), 0.2),
        (lambda number: 5.0 if number in (0, 20, 31) else 0.0, 0.001),
    ],
)
@pytest.mark.parametrize("every_s", [0.2, 1.0, 5.0])
def test_reports_that_wobble_are_averaged(
    wobble_s: Callable[[int], float], largest_error_s: float, every_s: float
) -> None:
    times = stamped(wobble_s=wobble_s, every_s=every_s, duration_s=40 * max(1, every_s))
    assert times.runs_on
    assert times.changes == 1
    assert times.error_s(after_s=20 * max(1, every_s)) < largest_error_s


@pytest.mark.parametrize("drift", [500e-6, -500e-6])
def test_a_camera_whose_two_clocks_drift_apart_is_followed(drift: float) -> None:
    times = stamped(lambda at_s: at_s * (1 + drift), every_s=5, duration_s=300)
    assert times.runs_on
    assert times.error_s(after_s=100) < 0.002


@pytest.mark.parametrize("step_s", [0.1, 3.0, -0.1, -3.0])
@pytest.mark.parametrize("every_s", [0.04, 1.0, 5.0])
def test_a_clock_that_is_set_is_followed_within_fifteen_seconds_and_a_step_back_slowly(
    step_s: float, every_s: float
) -> None:
    """A step ahead is made at once, one back at a quarter of real time: 4/3 of its length."""
    times = stamped(lambda at_s: at_s + step_s * (at_s > 20), every_s=every_s)
    assert times.runs_on
    assert times.changes == 1
    assert times.error_s(after_s=35 + 4 / 3 * max(0.0, -step_s)) < 0.001


@pytest.mark.parametrize("ahead_s", [10.0, -10.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_clock_at_the_tolerance_is_used_or_not_but_does_not_flicker(
    ahead_s: float, seed: int
) -> None:
    def clock_s(at_s: float) -> float:
        return at_s + ahead_s

    def delayed_s(at_s: float) -> float:
        return 0.05 + 3.0 * (40 <= at_s < 43)  # the network stalls

    for wobble_s in (lambda number: Random(number).gauss(0, 0.03), heavy_tailed(0.05, seed)):
        times = stamped(clock_s, wobble_s=wobble_s, latency_s=delayed_s, duration_s=120)
        assert times.runs_on
        assert times.changes <= 1


def test_a_clock_that_leaves_the_tolerance_comes_back_well_inside_it() -> None:
    times = stamped(lambda at_s: at_s + 8.5 + 2 * math.sin(at_s / 300), duration_s=2400)
    assert times.runs_on
    seen = [source for source, _ in itertools.groupby(times.sources)]
    assert seen[:4] == [ClockSource.ARRIVAL, ClockSource.RTCP_SR] * 2
    used = [ahead for ahead, source in zip(
        (right - at for right, at in zip(times.right_s, times.at_s, strict=True)),
        times.sources, strict=True) if source is ClockSource.RTCP_SR]  # fmt: skip
    assert max(used) < 10.1


def test_late_and_repeated_reports_change_nothing() -> None:
    clock = RtpCaptureClock(10)
    for second in (1, 2, 3, 2, 3, 1, 3):
        clock.observe(NOW_NS + second * 10**9, second * 90_000, NOW_NS + 3 * 10**9)
    clock.observe(NOW_NS + 2 * 10**9, 90_000, NOW_NS + 4 * 10**9)
    assert clock.capture_time_ns(0) == NOW_NS


def test_our_own_clock_that_is_set_back_does_not_turn_capture_times_back() -> None:
    times = stamped(latency_s=lambda at_s: 0.05 - 5 * (at_s > 20), every_s=1000)
    assert times.runs_on
    assert set(times.sources) == {ClockSource.ARRIVAL}
