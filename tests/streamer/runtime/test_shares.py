"""Shares of places: what is kept for each holder, and for whoever comes first."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.errors import BusyError
from streamer.runtime.shares import Shares


def hold_all(shares: Shares, holder: str, stack: ExitStack) -> int:
    """How many places this holder gets."""
    count = 0
    while True:
        try:
            stack.enter_context(shares.hold(holder))
        except BusyError:
            return count
        count += 1


def test_without_holders_whoever_comes_first_gets_all() -> None:
    with ExitStack() as stack:
        shares = Shares(3, (), "things")
        assert hold_all(shares, "anybody", stack) == 3
        with pytest.raises(BusyError, match="there are 3 things already"):
            shares.check("anybody")


def test_only_holder_gets_all() -> None:
    with ExitStack() as stack:
        assert hold_all(Shares(5, ("phone",), "things"), "phone", stack) == 5


def test_refusal_of_a_share_names_the_holder_and_the_rest() -> None:
    with ExitStack() as stack:
        shares = Shares(32, ("owner", "wall", "me"), "connections")
        assert hold_all(shares, "wall", stack) == 22
        with pytest.raises(BusyError, match="wall has 22 of 32 connections, and the free ones"):
            shares.check("wall")
        assert hold_all(shares, "me", stack) == 5
        assert hold_all(shares, "owner", stack) == 5
    assert len(shares) == 0


def test_more_than_one_may_be_taken_at_once() -> None:
    shares = Shares(100, ("wall", "me"), "bytes")
    shares.take("wall", 75)
    with pytest.raises(BusyError, match="wall has 75 of 100 bytes"):
        shares.take("wall", 1)
    shares.take("me", 25)
    shares.give_back("wall", 75)
    shares.give_back("me", 25)
    assert len(shares) == 0


@given(limit=st.integers(1, 80), holders=st.integers(1, 80), greedy=st.integers(0, 79))
def test_no_coalition_pushes_another_out(limit: int, holders: int, greedy: int) -> None:
    names = [f"token-{number}" for number in range(holders)]
    shares = Shares(limit, names, "things")
    with ExitStack() as stack:
        for name in ["stranger", *names[: greedy % holders]]:
            hold_all(shares, name, stack)
        assert len(shares) <= limit
        last = hold_all(shares, names[-1], stack)
        assert len(shares) <= limit
        assert last >= 1 or holders > limit
