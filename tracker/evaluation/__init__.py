"""How well a tracker follows: the benchmarks' measures, and suites to apply them to."""

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
