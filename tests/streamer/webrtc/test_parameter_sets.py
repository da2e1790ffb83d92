"""Parameter sets in a description: what is read of them, and what is ignored with a reason."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.webrtc.parameter_sets import MOST_BYTES, MOST_SETS, read_parameter_sets

SPS, PPS = b"\x67\x42\xc0\x1f\xda", b"\x68\xce\x3c\x80"
GOOD = b"\x00\x00\x00\x01" + SPS + b"\x00\x00\x00\x01" + PPS


def text(*units: bytes) -> str:
    return ",".join(base64.b64encode(unit).decode() for unit in units)


@pytest.mark.parametrize(
    "value",
    [
        text(SPS, PPS),
        text(SPS, PPS).replace("=", ""),
        text(SPS, PPS).replace(",", " , "),
        text(SPS, PPS) + ",",
    ],
)
def test_sets_are_read_with_start_codes(value: str) -> None:
    assert read_parameter_sets(value).data == GOOD
    assert read_parameter_sets(value).problem is None


def test_without_any_there_is_nothing() -> None:
    for value in (None, "", ","):
        assert read_parameter_sets(value) == read_parameter_sets(None)


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("Z0LAH9o=,!!", "'!!' is not base64"),
        ("Z", "'Z' is not base64"),
        (text(SPS, b"\x65\x88\x84"), "is neither an SPS nor a PPS"),
        (text(b"\x67"), "is neither an SPS nor a PPS"),
        (text(*[PPS] * (MOST_SETS + 1)), f"more than {MOST_SETS} sets"),
        (text(SPS + bytes(MOST_BYTES)), f"or {MOST_BYTES} bytes"),
    ],
)
def test_what_cannot_be_used_is_ignored_as_a_whole(value: str, problem: str) -> None:
    sets = read_parameter_sets(value)
    assert not sets.data
    assert problem in (sets.problem or "")


@given(st.text())
def test_no_text_is_too_strange(value: str) -> None:
    sets = read_parameter_sets(value)
    assert len(sets.data) <= MOST_BYTES + 4 * MOST_SETS
