"""Waiting for a condition on an event loop, as ``eventually`` does in a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


async def until(
    condition: Callable[[], T], what: str | Callable[[], str] = "", timeout_s: float = 20.0
) -> T:
    """The first true value of ``condition``; fails the test when ``timeout_s`` has passed."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline_s:
            pytest.fail(f"not within {timeout_s:g} s: {what() if callable(what) else what}")
        await asyncio.sleep(0.01)
