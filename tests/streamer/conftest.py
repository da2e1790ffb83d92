"""Fixtures of the daemon's parts."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.streamer.inference.rig import Rig, running


@pytest.fixture
def rig() -> Iterator[Rig]:
    """A running inference thread, stopped after the test."""
    with running(Rig()) as made:
        yield made


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger without handlers, put back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers.clear()
    yield root
    for handler in list(root.handlers):
        root.removeHandler(handler)
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level)
