"""Scores as a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypedDict

import numpy as np
from rich.table import Table

from tracker.evaluation.runner import ClipScore, ObjectScore


class Summary(TypedDict):
    """Means over objects; ``returned`` over the objects that were out of sight for a while."""

    objects: int
    jaccard: float
    boundary_f: float
    mean: float
    returned: float | None


def summarise(objects: Sequence[ObjectScore]) -> Summary:
    """Means over ``objects``; raises ValueError if there is none."""
    if not objects:
        raise ValueError("no object was scored")
    returned = [score.returned for score in objects if score.returned is not None]
    region = float(np.mean([score.jaccard for score in objects]))
    contour = float(np.mean([score.boundary_f for score in objects]))
    return Summary(
        objects=len(objects),
        jaccard=region,
        boundary_f=contour,
        mean=(region + contour) / 2,
        returned=float(np.mean(returned)) if returned else None,
    )


def by_category(scores: Iterable[ClipScore]) -> dict[str, Summary]:
    """One summary a category, in the order of their first clips."""
    groups: dict[str, list[ObjectScore]] = {}
    for score in scores:
        groups.setdefault(score.category, []).extend(score.objects)
    return {category: summarise(objects) for category, objects in groups.items()}


def table(scores: Sequence[ClipScore], title: str) -> Table:
    """Every clip, every category and the whole suite.

    "returned" is J&F on the frames after an object had been out of sight.
    """
    result = Table(title=title)
    result.add_column("category", no_wrap=True)
    result.add_column("clip", no_wrap=True)
    for heading in ("objects", "J", "F", "J&F", "returned", "ms/frame"):
        result.add_column(heading, justify="right")
    for score in scores:
        result.add_row(
            score.category,
            score.name,
            *_cells(summarise(score.objects)),
            f"{1000 * score.seconds_per_frame:.0f}",
        )
    result.add_section()
    categories = by_category(scores)
    if len(categories) > 1:
        for category, summary in categories.items():
            result.add_row(category, "all", *_cells(summary), "")
        result.add_section()
    whole = summarise([entry for score in scores for entry in score.objects])
    result.add_row("all", "", *_cells(whole), f"{1000 * _median_seconds(scores):.0f}", style="bold")
    return result


def as_json(scores: Sequence[ClipScore], suite: str, checkpoint: str, prompt: str) -> object:
    """Everything the table shows, unrounded, per object too."""
    return {
        "suite": suite,
        "checkpoint": checkpoint,
        "prompt": prompt,
        "all": summarise([entry for score in scores for entry in score.objects]),
        "categories": by_category(scores),
        "seconds_per_frame": _median_seconds(scores),
        "clips": [
            {
                "name": score.name,
                "category": score.category,
                "seconds_per_frame": score.seconds_per_frame,
                "summary": summarise(score.objects),
                "objects": [
                    {
                        "object_id": entry.object_id,
                        "jaccard": entry.jaccard,
                        "boundary_f": entry.boundary_f,
                        "mean": entry.mean,
                        "returned": entry.returned,
                    }
                    for entry in score.objects
                ],
            }
            for score in scores
        ],
    }


def _median_seconds(scores: Sequence[ClipScore]) -> float:
    return float(np.median([score.seconds_per_frame for score in scores]))


def _cells(summary: Summary) -> tuple[str, str, str, str, str]:
    returned = summary["returned"]
    return (
        str(summary["objects"]),
        f"{summary['jaccard']:.3f}",
        f"{summary['boundary_f']:.3f}",
        f"{summary['mean']:.3f}",
        "" if returned is None else f"{returned:.3f}",
    )
