"""Tables of an ablation: each row's scores and their differences to the full policy."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from tracker.evaluation.ablation import RowResult
from tracker.evaluation.absence import Return
from tracker.evaluation.summary import reacquired

REFERENCE = "robust"
CATEGORIES = 5  # side by side in a terminal
EXPLANATION = (
    'J&F: success for boxes. ±: difference to "robust". found: share of returns found within 10 '
    "frames. switch: share of objects whose mask switched to another object. area: of false masks, "
    "relative to the object. ECE: expected error of the predicted IoU. By category: differences to "
    '"robust", whose own row is absolute.'
)


@dataclass(frozen=True, slots=True)
class Headline:
    """A row's means over objects; ``by_category``: J&F (boxes: success)."""

    row: str
    by_category: dict[str, float]
    mean: float
    reacquired: float | None
    switched: float | None
    false_area: float | None
    flicker: float | None
    calibration_error: float | None


def headlines(results: Iterable[RowResult]) -> list[Headline]:
    """One headline per row, in order."""
    groups: dict[str, list[RowResult]] = {}
    for result in results:
        groups.setdefault(result.row, []).append(result)
    return [_headline(row, group) for row, group in groups.items()]


def tables(lines: Sequence[Headline], title: str) -> list[Table]:
    """All rows; then J&F (boxes: success) by category, as differences to "robust".

    ``EXPLANATION`` describes the columns.
    """
    names = list(dict.fromkeys(name for line in lines for name in line.by_category))
    parts = [names[at : at + CATEGORIES] for at in range(0, len(names), CATEGORIES)]
    return [_whole(lines, title), *(_by_category(lines, part, title) for part in parts)]


def _whole(lines: Sequence[Headline], title: str) -> Table:
    reference = _reference(lines)
    result = Table(title=title, pad_edge=False)
    result.add_column("row", no_wrap=True)
    for heading in ("J&F", "±", "found", "switch", "area", "ECE"):
        result.add_column(heading, justify="right")
    for line in lines:
        against = None if reference in (None, line) else line.mean - reference.mean
        result.add_row(
            line.row,
            f"{line.mean:.3f}",
            *_numbers([against], "+.3f"),
            *_numbers([line.reacquired, line.switched, line.false_area], ".2f"),
            *_numbers([line.calibration_error], ".3f"),
            style="bold" if line.row == REFERENCE else None,
        )
    return result


def _by_category(lines: Sequence[Headline], categories: Sequence[str], title: str) -> Table:
    reference = _reference(lines)
    result = Table(title=f"{title}, by category", pad_edge=False)
    result.add_column("row", no_wrap=True)
    for name in categories:
        result.add_column(name, justify="right")
    for line in lines:
        own = [line.by_category.get(name) for name in categories]
        if reference in (None, line):
            result.add_row(line.row, *_numbers(own, ".3f"), style="bold")
        else:
            theirs = [reference.by_category.get(name) for name in categories]
            pairs = zip(own, theirs, strict=True)
            differences = [None if x is None or y is None else x - y for x, y in pairs]
            result.add_row(line.row, *_numbers(differences, "+.3f"))
    return result


def _reference(lines: Sequence[Headline]) -> Headline | None:
    return next((line for line in lines if line.row == REFERENCE), None)


def _numbers(values: Iterable[float | None], form: str) -> list[str]:
    return ["" if value is None else format(value, form) for value in values]


def as_json(lines: Sequence[Headline]) -> list[dict[str, Any]]:
    """The table's rows, unrounded."""
    return [{name: getattr(line, name) for name in Headline.__dataclass_fields__} for line in lines]


def _headline(row: str, results: Sequence[RowResult]) -> Headline:
    objects = [entry for result in results for entry in _objects(result)]
    by_category: dict[str, list[float]] = {}
    for result in results:
        qualities = by_category.setdefault(result.category, [])
        qualities += [_quality(entry) for entry in _objects(result)]
    return Headline(
        row=row,
        by_category={name: float(np.mean(values)) for name, values in by_category.items()},
        mean=float(np.mean([_quality(entry) for entry in objects])),
        reacquired=reacquired(Return(**each) for entry in objects for each in entry["returns"]),
        switched=_mean(entry["switched"] for entry in objects),
        false_area=_mean(
            entry["absence"]["false_area"] for entry in objects if entry["absence"] is not None
        ),
        flicker=_mean(entry["flicker"] for entry in objects),
        calibration_error=_calibration_error(results),
    )


def _calibration_error(results: Sequence[RowResult]) -> float | None:
    """The expected error over the bins of all clips."""
    missed: dict[float, float] = {}
    count = 0
    for result in results:
        found = result.document["calibration"]
        if found is None:
            continue
        count += found["count"]
        for each in found["bins"]:
            more = each["count"] * (each["predicted"] - each["actual"])
            missed[each["low"]] = missed.get(each["low"], 0.0) + more
    return sum(map(abs, missed.values())) / count if count else None


def _objects(result: RowResult) -> list[dict[str, Any]]:
    return [entry for clip in result.document["clips"] for entry in clip["objects"]]


def _quality(entry: dict[str, Any]) -> float:
    """J&F, or the success AUC of an object annotated with boxes only."""
    return float(entry["mean"] if entry["mean"] is not None else entry["box"]["success_auc"])


def _mean(values: Iterable[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return float(np.mean(known)) if known else None
