"""Scores as tables and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from rich.table import Table

from tracker.evaluation.runner import ClipScore
from tracker.evaluation.series import ObjectScore
from tracker.evaluation.summary import (
    SizeClass,
    Summary,
    by_category,
    by_size,
    calibration_of,
    summarise,
)

Column = tuple[str, str, int]
"""Heading, the summary's value, digits after the point."""

# Columns without any value are left out.
CLIP_COLUMNS: tuple[Column, ...] = (
    ("objects", "objects", 0),
    ("J", "jaccard", 3),
    ("F", "boundary_f", 3),
    ("J&F", "mean", 3),
    ("returned", "returned", 3),
    ("success", "success_auc", 3),
    ("tracked", "tracked", 2),
)
BEHAVIOUR_COLUMNS: tuple[Column, ...] = (
    ("returns", "returns", 0),
    ("found ≤10", "reacquired", 2),
    ("after", "reacquire_frames", 0),
    ("claimed", "claimed", 2),
    ("false area", "false_area", 2),
    ("switched", "switched", 2),
    ("covers", "covering", 3),
    ("flicker", "flicker", 3),
)
BENCHMARK_COLUMNS: tuple[Column, ...] = (
    ("precision", "precision", 3),
    ("normalised", "normalised_precision", 3),
    ("HOTA", "hota", 3),
    ("MOTA", "mota", 3),
    ("IDF1", "idf1", 3),
    ("IDSW", "id_switches", 0),
    ("ECE", "calibration_error", 3),
    ("calibrated", "calibrated_error", 3),
)
EXPLANATION = (
    "returned: J&F after an absence. returns: objects visible again; found ≤10: share of them "
    "(absent for at most 100 frames) found within 10 frames; after: median frames. claimed: share "
    "of frames without the object that have a mask; false area: its size relative to the object. "
    "switched: objects whose mask switched to another object. covers: share of another object that "
    "the mask covers (of the one it covers most). flicker: change of the mask beyond "
    "the object's own. precision: centres of boxes at most 20 pixels apart; normalised: by the "
    "object's size, AUC. IDSW: identity switches. ECE: expected error of the predicted IoU; "
    "calibrated: the same with the model's calibration."
)


def tables(scores: Sequence[ClipScore], title: str, *, identity: bool = True) -> list[Table]:
    """Tables by clip; by category, of the tracker's behaviour; and of the benchmarks' measures.

    Photographs are shown by category only, and by the size of their things.

    None is wider than 80 columns if names are short. ``EXPLANATION`` describes the columns.
    """
    categories = by_category(scores, identity=identity)
    whole = summarise(scores, identity=identity)
    groups = [*categories.items(), ("all", whole)] if len(categories) > 1 else [("all", whole)]
    sizes = by_size(scores)
    return [
        _clips(scores, groups, title),
        *([_sizes(sizes)] if sizes else []),
        *(
            _by_group(groups, columns, name)
            for columns, name in (
                (BEHAVIOUR_COLUMNS, "kept and lost"),
                (BENCHMARK_COLUMNS, "boxes, identities, confidence"),
            )
        ),
    ]


def _clips(scores: Sequence[ClipScore], groups: Sequence[tuple[str, Summary]], title: str) -> Table:
    own_rows = [score for score in scores if not score.still]
    clips = [summarise([score], identity=False) for score in own_rows]
    shown = _columns([*clips, groups[-1][1]], CLIP_COLUMNS)
    result = Table(title=title)
    result.add_column("category", no_wrap=True)
    result.add_column("clip", no_wrap=True)
    for heading, _, _ in shown:
        result.add_column(heading, justify="right", no_wrap=True)
    result.add_column("ms", justify="right")
    for score, summary in zip(own_rows, clips, strict=True):
        took = f"{1000 * score.seconds_per_frame:.0f}"
        result.add_row(score.category, score.name, *cells(summary, shown), took)
    result.add_section()
    for name, summary in groups[:-1]:
        result.add_row(name, "all", *cells(summary, shown), "")
    result.add_section()
    took = f"{1000 * median_seconds(scores):.0f}"
    result.add_row("all", "", *cells(groups[-1][1], shown), took, style="bold")
    return result


def _sizes(sizes: dict[str, SizeClass]) -> Table:
    result = Table(title="things of photographs by their size")
    result.add_column("of the picture", no_wrap=True)
    result.add_column("things", justify="right")
    result.add_column("J (mIoU)", justify="right")
    for name, each in sizes.items():
        result.add_row(name, str(each["objects"]), f"{each['jaccard']:.3f}")
    return result


def _by_group(
    groups: Sequence[tuple[str, Summary]], columns: Sequence[Column], title: str
) -> Table:
    shown = _columns([summary for _, summary in groups], columns)
    result = Table(title=title)
    result.add_column("category", no_wrap=True)
    for heading, _, _ in shown:
        result.add_column(heading, justify="right", no_wrap=True)
    for name, summary in groups:
        result.add_row(name, *cells(summary, shown), style="bold" if name == "all" else None)
    return result


def cells(summary: Summary, columns: Sequence[Column]) -> list[str]:
    """A summary's values as text; empty if not measured."""
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
    """The tables' values, unrounded, also per object, and the reliability bins."""
    reliability = calibration_of(entry for score in scores for entry in score.objects)
    return {
        "suite": suite,
        "checkpoint": checkpoint,
        "prompt": prompt,
        "all": summarise(scores, identity=identity),
        "categories": by_category(scores, identity=identity),
        "sizes": by_size(scores),
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
    """Seconds of a step, the median over clips."""
    return float(np.median([score.seconds_per_frame for score in scores]))


def _object(entry: ObjectScore) -> dict[str, Any]:
    content = asdict(entry) | {"mean": entry.mean}
    for many in ("clip", "category", "predicted_iou", "actual_iou", "calibrated_iou"):
        del content[many]
    return content


def _columns(summaries: Sequence[Summary], columns: Sequence[Column]) -> list[Column]:
    values: list[dict[str, Any]] = [dict(each) for each in summaries]
    dropped = any(each["tracked"] < 1 for each in values)
    return [
        column
        for column in columns
        if any(each[column[1]] is not None for each in values)
        and (column[1] != "tracked" or dropped)
    ]
