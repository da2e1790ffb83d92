"""Fixtures of the daemon's parts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.streamer.inference_rig import Rig


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A running inference thread, stopped after the test."""
    made = Rig()
    made.thread.start()
    yield made
    made.tracker.held.set()
    made.inference.stop()
    made.thread.join(20)
    assert not made.thread.is_alive()
