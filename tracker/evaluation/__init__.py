"""How well a tracker follows: the benchmarks' measures, and suites to apply them to.

Names are loaded when they are first used: the command line reads its arguments from here and must
not wait for the rest.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracker.evaluation.clips import ClipFrame, EvaluationClip
    from tracker.evaluation.davis import davis_clips
    from tracker.evaluation.measures import boundary_f, jaccard
    from tracker.evaluation.prompts import PromptKind, first_frame_prompt
    from tracker.evaluation.runner import ClipScore, evaluate_clip, evaluate_suite
    from tracker.evaluation.series import ObjectScore
    from tracker.evaluation.stress import stress_clips
    from tracker.evaluation.synthetic import synthetic_clips

__all__ = [
    "ClipFrame",
    "ClipScore",
    "EvaluationClip",
    "ObjectScore",
    "PromptKind",
    "boundary_f",
    "davis_clips",
    "evaluate_clip",
    "evaluate_suite",
    "first_frame_prompt",
    "jaccard",
    "stress_clips",
    "synthetic_clips",
]

_MODULES = {
    "clips": ("ClipFrame", "EvaluationClip"),
    "davis": ("davis_clips",),
    "measures": ("boundary_f", "jaccard"),
    "prompts": ("PromptKind", "first_frame_prompt"),
    "runner": ("ClipScore", "evaluate_clip", "evaluate_suite"),
    "series": ("ObjectScore",),
    "stress": ("stress_clips",),
    "synthetic": ("synthetic_clips",),
}


def __getattr__(name: str) -> object:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"tracker.evaluation.{module}"), name)
    raise AttributeError(f"module 'tracker.evaluation' has no attribute {name!r}")
