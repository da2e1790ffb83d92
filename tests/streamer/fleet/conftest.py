"""Fixtures of fleets."""

from tests.streamer.recorded.made import checkpoint

__all__ = ["checkpoint"]
