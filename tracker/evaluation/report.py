"""Scores as a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.table import Table

from tracker.evaluation.runner import ClipScore
from tracker.evaluation.series import ObjectScore
from tracker.evaluation.summary import Summary, by_category, calibration_of, summarise

# Heading, the summary's value, digits after the point. Columns without any value are left out.
COLUMNS = (
    ("objects", "objects", 0),
    ("J", "jaccard", 3),
    ("F", "boundary_f", 3),
    ("J&F", "mean", 3),
    ("returned", "returned", 3),
    ("found ≤10", "reacquired", 2),
    ("after", "reacquire_frames", 0),
    ("claimed", "claimed", 2),
    ("false area", "false_area", 2),
    ("switched", "switched", 2),
    ("flicker", "flicker", 3),
    ("success", "success_auc", 3),
    ("prec. 20", "precision", 3),
    ("norm. prec.", "normalised_precision", 3),
    ("ECE", "calibration_error", 3),
    ("HOTA", "hota", 3),
    ("MOTA", "mota", 3),
    ("IDF1", "idf1", 3),
    ("IDSW", "id_switches", 0),
    ("tracked", "tracked", 2),
)
EXPLANATION = (
    "returned: J&F after having been out of sight. found ≤10: share of returns (gone ≤ 100 "
    "frames) found within 10 frames; after: median frames it took. claimed: share of frames "
    "without the object that show a mask; false area: its size in sizes of the object. "
    "switched: share of objects whose mask went over to another thing. success, prec.: boxes as "
    "OTB and LaSOT score them. ECE: error of the predicted IoU."
)


def table(scores: Sequence[ClipScore], title: str, *, identity: bool = True) -> Table:
    """Every clip, every category and the whole suite; ``EXPLANATION`` says what columns mean."""
    clips = [summarise([score], identity=identity) for score in scores]
    categories = by_category(scores, identity=identity)
    whole = summarise(scores, identity=identity)
    shown = _columns([*clips, whole])
    result = Table(title=title, caption=EXPLANATION, caption_justify="left")
    result.add_column("category", no_wrap=True)
    result.add_column("clip", no_wrap=True)
    for heading, _, _ in shown:
        result.add_column(heading, justify="right")
    result.add_column("ms/frame", justify="right")
    for score, summary in zip(scores, clips, strict=True):
        took = f"{1000 * score.seconds_per_frame:.0f}"
        result.add_row(score.category, score.name, *cells(summary, shown), took)
    result.add_section()
    if len(categories) > 1:
        for category, summary in categories.items():
            result.add_row(category, "all", *cells(summary, shown), "")
        result.add_section()
    took = f"{1000 * median_seconds(scores):.0f}"
    result.add_row("all", "", *cells(whole, shown), took, style="bold")
    return result


def cells(summary: Summary, columns: Sequence[tuple[str, str, int]] = COLUMNS) -> list[str]:
    """A summary's values as they are shown; empty where nothing was measured."""
    values: dict[str, Any] = dict(summary)
    return [
        "" if values[key] is None else f"{values[key]:.{digits}f}" for _, key, digits in columns
    ]


def as_json(
    scores: Sequence[ClipScore],
    suite: str,
    checkpoint: str,
    prompt: str,
    *,
    identity: bool = True,
) -> dict[str, Any]:
    """Everything the table shows, unrounded, per object too, and the reliability bins."""
    reliability = calibration_of(entry for score in scores for entry in score.objects)
    return {
        "suite": suite,
        "checkpoint": checkpoint,
        "prompt": prompt,
        "all": summarise(scores, identity=identity),
        "categories": by_category(scores, identity=identity),
        "seconds_per_frame": median_seconds(scores),
        "calibration": None if reliability is None else asdict(reliability),
        "clips": [
            {
                "name": score.name,
                "category": score.category,
                "frames": score.frames,
                "tracked_frames": score.tracked_frames,
                "seconds_per_frame": score.seconds_per_frame,
                "summary": summarise([score], identity=identity),
                "objects": [_object(entry) for entry in score.objects],
            }
            for score in scores
        ],
    }


def median_seconds(scores: Sequence[ClipScore]) -> float:
    """What a step took, the median over clips."""
    return float(np.median([score.seconds_per_frame for score in scores]))


def _object(entry: ObjectScore) -> dict[str, Any]:
    content = asdict(entry) | {"mean": entry.mean}
    for many in ("clip", "category", "predicted_iou", "actual_iou"):
        del content[many]
    return content


def _columns(summaries: Sequence[Summary]) -> list[tuple[str, str, int]]:
    values: list[dict[str, Any]] = [dict(each) for each in summaries]
    dropped = any(each["tracked"] < 1 for each in values)
    return [
        column
        for column in COLUMNS
        if any(each[column[1]] is not None for each in values)
        and (column[1] != "tracked" or dropped)
    ]
