"""Recorded video as a job: clips and prompts in, masks of every frame out (``masklet segment``).

``segment`` yields the results of one clip frame by frame; ``job.run_jobs`` writes them into folders
and goes on where it stopped. Memory does not grow with the length of a clip.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamer.recorded.clips import open_clip
    from streamer.recorded.tracking import FrameTracks, segment

__all__ = ["FrameTracks", "open_clip", "segment"]

# Loaded on first use: they need FFmpeg or torch.
_PLACES = {
    "FrameTracks": "streamer.recorded.tracking",
    "open_clip": "streamer.recorded.clips",
    "segment": "streamer.recorded.tracking",
}


def __getattr__(name: str) -> object:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'streamer.recorded' has no attribute {name!r}")
