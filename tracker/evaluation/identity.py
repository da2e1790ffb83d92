"""HOTA, MOTA and IDF1 of tracked objects, computed by TrackEval, the benchmarks' own code.

TrackEval depends on OpenCV with a display, which conflicts with the headless one used here, so it
cannot be an ordinary dependency; the functions called here do not need it.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tracker.evaluation.missing import MissingLibraryError

HOW_TO_INSTALL = (
    "HOTA, MOTA and IDF1 need TrackEval: pip install 'masklet[evaluation]' and then "
    "pip install --no-deps trackeval==1.3.0; or leave them out with --no-identity"
)


@dataclass(frozen=True, slots=True)
class IdentityScore:
    """Scores over all objects of a clip or suite; ``mota`` may be below 0, the others are 0..1.

    ``switches`` counts matched objects whose track changed (CLEAR's IDSW, IoU from 0.5 on).
    """

    hota: float
    detection: float
    association: float
    mota: float
    idf1: float
    switches: int


@dataclass(frozen=True, slots=True)
class _Frame:
    true_ids: tuple[int, ...]
    found_ids: tuple[int, ...]
    similarity: npt.NDArray[np.float64]


@dataclass(slots=True)
class IdentityRecord:
    """True and tracked objects with their pairwise IoU, for every frame of a clip."""

    _frames: list[_Frame] = field(default_factory=list)

    def add(
        self,
        true_ids: Sequence[int],
        found_ids: Sequence[int],
        similarity: npt.NDArray[np.float64],
    ) -> None:
        """Add one frame: visible objects, tracked objects, and their IoU, (true, tracked)."""
        if similarity.shape != (len(true_ids), len(found_ids)):
            raise ValueError(
                f"similarity must be {(len(true_ids), len(found_ids))}, got {similarity.shape}"
            )
        self._frames.append(_Frame(tuple(true_ids), tuple(found_ids), similarity))

    def as_trackeval(self) -> dict[str, Any]:
        """The sequence in TrackEval's format: consecutive ids from 0."""
        true_ids = sorted({each for frame in self._frames for each in frame.true_ids})
        found_ids = sorted({each for frame in self._frames for each in frame.found_ids})
        true_place = {each: place for place, each in enumerate(true_ids)}
        found_place = {each: place for place, each in enumerate(found_ids)}
        return {
            "num_timesteps": len(self._frames),
            "num_gt_ids": len(true_ids),
            "num_tracker_ids": len(found_ids),
            "num_gt_dets": sum(len(frame.true_ids) for frame in self._frames),
            "num_tracker_dets": sum(len(frame.found_ids) for frame in self._frames),
            "gt_ids": [_places(frame.true_ids, true_place) for frame in self._frames],
            "tracker_ids": [_places(frame.found_ids, found_place) for frame in self._frames],
            "similarity_scores": [frame.similarity for frame in self._frames],
        }


def identity_score(records: Sequence[IdentityRecord]) -> IdentityScore | None:
    """The scores over some clips, as the benchmarks combine sequences; None without a truth.

    Raises MissingLibraryError if TrackEval is not installed.
    """
    sequences = [record.as_trackeval() for record in records]
    if not any(sequence["num_gt_dets"] for sequence in sequences):
        return None
    metrics = _metrics()
    quiet = {"PRINT_CONFIG": False}
    hota, clear, identity = (
        _combined(metric, sequences)
        for metric in (metrics.HOTA(), metrics.CLEAR(quiet), metrics.Identity(quiet))
    )
    return IdentityScore(
        hota=float(np.mean(hota["HOTA"])),
        detection=float(np.mean(hota["DetA"])),
        association=float(np.mean(hota["AssA"])),
        mota=float(clear["MOTA"]),
        idf1=float(identity["IDF1"]),
        switches=int(clear["IDSW"]),
    )


def require_trackeval() -> None:
    """Raise MissingLibraryError, with the remedy, unless TrackEval is installed."""
    _metrics()


def _combined(metric: Any, sequences: Sequence[dict[str, Any]]) -> dict[str, Any]:
    results = {str(number): metric.eval_sequence(each) for number, each in enumerate(sequences)}
    combined: dict[str, Any] = metric.combine_sequences(results)
    return combined


def _metrics() -> Any:
    try:
        # It reports on standard output which benchmark readers it could not load.
        with contextlib.redirect_stdout(io.StringIO()):
            from trackeval import metrics
    except ImportError as error:
        raise MissingLibraryError(f"{HOW_TO_INSTALL} ({error})") from error
    return metrics


def _places(ids: tuple[int, ...], place: dict[int, int]) -> npt.NDArray[np.intp]:
    return np.array([place[each] for each in ids], dtype=np.intp)
