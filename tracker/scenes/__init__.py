"""Rendered scenes whose true masks are known: a small match, and shapes over textures."""

from tracker.scenes.frame import SceneFrame
from tracker.scenes.match import DEMO_SEED, EVALUATION_SEED_START, Match
from tracker.scenes.shapes import Shapes

__all__ = ["DEMO_SEED", "EVALUATION_SEED_START", "Match", "SceneFrame", "Shapes"]
