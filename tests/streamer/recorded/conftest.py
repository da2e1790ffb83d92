"""Fixtures of recorded video."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.streamer.recorded.made import checkpoint

__all__ = ["checkpoint"]


@pytest.fixture(scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is measured about this processor is measured once for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def in_own_cache(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read from, nor left in, the caches of who runs the tests."""
    monkeypatch.setenv("CACHE_DIRECTORY", str(own_cache))
