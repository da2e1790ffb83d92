"""The two views of a stream, and a scene: one frame that is ready to be drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from streamer.sinks.video.trails import Trail
from streamer.types import FrameResult


class View(StrEnum):
    """With masks, outlines, names and trails drawn in, or as the camera sent it."""

    OVERLAY = "overlay"
    CLEAN = "clean"


@dataclass(frozen=True, slots=True)
class Scene:
    """A tracked frame and the trails of its objects; handed to the threads that draw."""

    result: FrameResult
    trails: Mapping[int, Trail] = field(default_factory=dict)
