"""Means over the objects of a suite, or of a part of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypedDict

import numpy as np

from tracker.evaluation.absence import Return
from tracker.evaluation.calibration import Calibration, calibration
from tracker.evaluation.identity import identity_score
from tracker.evaluation.runner import ClipScore
from tracker.evaluation.series import ObjectScore

# Things of photographs by their share of the picture: a class's name, and where it ends.
SIZES = (("under 1 %", 0.01), ("1 to 3 %", 0.03), ("3 to 10 %", 0.1), ("over 10 %", 1.01))
LONGEST_OCCLUSION_FRAMES = 100  # of the returns that ``reacquired`` counts


class Summary(TypedDict):
    """Means over the objects on which each can be measured; None if there is none.

    ``returned``: J&F after an absence. ``reacquired``: share of the returns after at most 100
    frames on which the object was found within 10; ``reacquire_frames``: median frames of all
    returns that were found. ``claimed``: share of the frames without the object that have a mask;
    ``false_area``: its mean area relative to the object. ``switched``: share of objects whose mask
    switched to another object; ``covering``: share of another object that the mask covers. HOTA,
    MOTA, IDF1 and ``id_switches`` are over all objects together.
    ``calibration_error`` and ``calibrated_error``: of the predicted IoU, and of the calibrated one.
    ``tracked``: share of frames not dropped.
    """

    objects: int
    jaccard: float | None
    boundary_f: float | None
    mean: float | None
    returned: float | None
    returns: int
    reacquired: float | None
    reacquire_frames: float | None
    claimed: float | None
    false_area: float | None
    switched: float | None
    covering: float | None
    flicker: float | None
    success_auc: float | None
    precision: float | None
    normalised_precision: float | None
    calibration_error: float | None
    calibrated_error: float | None
    hota: float | None
    mota: float | None
    idf1: float | None
    id_switches: int | None
    tracked: float


def summarise(scores: Sequence[ClipScore], *, identity: bool = True) -> Summary:
    """Means over the objects of ``scores``; raises ValueError if there is none.

    ``identity`` False leaves out TrackEval's measures; True raises MissingLibraryError if it is
    not installed.
    """
    objects = [entry for score in scores for entry in score.objects]
    if not objects:
        raise ValueError("no object was scored")
    all_returns = [each for entry in objects for each in entry.returns]
    taken = [each.reacquired_after for each in all_returns if each.reacquired_after is not None]
    absences = [entry.absence for entry in objects if entry.absence is not None]
    boxes = [entry.box for entry in objects if entry.box is not None]
    reliability = calibration_of(objects)
    who = identity_score([score.identity for score in scores]) if identity else None
    frames = sum(score.frames for score in scores)
    return Summary(
        objects=len(objects),
        jaccard=_mean(entry.jaccard for entry in objects),
        boundary_f=_mean(entry.boundary_f for entry in objects),
        mean=_mean(entry.mean for entry in objects),
        returned=_mean(entry.returned for entry in objects),
        returns=len(all_returns),
        reacquired=reacquired(all_returns),
        reacquire_frames=float(np.median(taken)) if taken else None,
        claimed=_mean(each.claimed for each in absences),
        false_area=_mean(each.false_area for each in absences),
        switched=_mean(entry.switched for entry in objects),
        covering=_mean(entry.covering for entry in objects),
        flicker=_mean(entry.flicker for entry in objects),
        success_auc=_mean(each.success_auc for each in boxes),
        precision=_mean(each.precision for each in boxes),
        normalised_precision=_mean(each.normalised_precision_auc for each in boxes),
        calibration_error=None if reliability is None else reliability.error,
        calibrated_error=_calibrated_error(objects),
        hota=None if who is None else who.hota,
        mota=None if who is None else who.mota,
        idf1=None if who is None else who.idf1,
        id_switches=None if who is None else who.switches,
        tracked=sum(score.tracked_frames for score in scores) / frames if frames else 1.0,
    )


def by_category(scores: Iterable[ClipScore], *, identity: bool = True) -> dict[str, Summary]:
    """One summary per category, in the order of their first clips."""
    groups: dict[str, list[ClipScore]] = {}
    for score in scores:
        groups.setdefault(score.category, []).append(score)
    return {name: summarise(group, identity=identity) for name, group in groups.items()}


class SizeClass(TypedDict):
    """Things of photographs of one size, and the mean IoU of their masks."""

    objects: int
    jaccard: float


def by_size(scores: Iterable[ClipScore]) -> dict[str, SizeClass]:
    """The things of photographs by their share of the picture; sizes without a thing left out."""
    groups: dict[str, list[float]] = {name: [] for name, _ in SIZES}
    for score in scores:
        for entry in score.objects if score.still else ():
            if entry.area_share is not None and entry.jaccard is not None:
                name = next(name for name, end in SIZES if entry.area_share < end)
                groups[name].append(entry.jaccard)
    return {
        name: SizeClass(objects=len(each), jaccard=float(np.mean(each)))
        for name, each in groups.items()
        if each
    }


def calibration_of(objects: Iterable[ObjectScore]) -> Calibration | None:
    """The reliability of the predictions for all masks of some objects."""
    objects = list(objects)
    return calibration(
        [each for entry in objects for each in entry.predicted_iou],
        [each for entry in objects for each in entry.actual_iou],
    )


def _calibrated_error(objects: Sequence[ObjectScore]) -> float | None:
    """The expected error with the model's calibration; None without one."""
    known = [entry for entry in objects if entry.calibrated_iou]
    found = calibration(
        [each for entry in known for each in entry.calibrated_iou],
        [each for entry in known for each in entry.actual_iou],
    )
    return None if found is None else found.error


def reacquired(all_returns: Iterable[Return]) -> float | None:
    """Share of the decided returns after at most 100 frames that were found at once."""
    decided = [
        each.at_once
        for each in all_returns
        if each.gone_frames <= LONGEST_OCCLUSION_FRAMES and each.at_once is not None
    ]
    return _mean(decided)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return float(np.mean(known)) if known else None
