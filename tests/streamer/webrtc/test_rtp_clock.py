"""NTP arithmetic, and whether a sender's clock is believed."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.runtime.clock import NANOSECONDS_PER_SECOND
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
    clock.observe(NOW_NS, 0, NOW_NS + 9_000_000_000)
    assert clock.capture_time_ns(0) == NOW_NS
    assert clock.implausible_by_s is None
    clock.observe(NOW_NS, 0, NOW_NS - 11_000_000_000)
    assert clock.capture_time_ns(0) is None


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
