"""Fixtures of the daemon's parts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.streamer.inference_rig import Rig, running


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A running inference thread, stopped after the test."""
    with running(Rig()) as made:
        yield made
