"""Fixtures of recorded video."""

from tests.streamer.recorded.made import checkpoint

__all__ = ["checkpoint"]
