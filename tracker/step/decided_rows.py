"""Decoded rows awaiting commit: their results are written to memory or discarded.

Dimensions: n objects of one frame, h w mask grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from tracker.policy.prediction import Prediction
from tracker.sessions.row import Row
from tracker.step.finishing import Finished
from tracker.step.results import Delivery


@dataclass(frozen=True, slots=True)
class DecidedRows:
    """Decided rows and the results to keep; ``delivery`` is the transfer to the host.

    ``shown_by_frame`` (n, 1, h, w) are kept to smooth the next frame's masks. ``kept``, by frame:
    masks and motion before it, for corrections, in memory of their own.
    """

    by_frame: list[list[Row]]
    delivery: Delivery
    shown_by_frame: list[Tensor]
    finished: Finished
    kept: Sequence[tuple[Tensor, ...]]
    prediction: Prediction | None

    @property
    def rows(self) -> list[Row]:
        """All rows, frame by frame."""
        return [row for own in self.by_frame for row in own]


def smoothed(rows: list[Row], logits_n1hw: Tensor) -> Tensor:
    """The published masks of one frame; prompted and corrected ones are not smoothed."""
    session, frame = rows[0].session, rows[0].frame
    again = frame.index < session.frames_seen
    anew = {row.object_id for row in rows if again or row.prompt is not None}
    return session.smoother.blend([row.object_id for row in rows], logits_n1hw, anew)


def keep_shown(rows: list[Row], shown_n1hw: Tensor) -> None:
    """Keep the published masks of the newest frame to smooth the next one."""
    session, frame = rows[0].session, rows[0].frame
    object_ids = [row.object_id for row in rows]
    if frame.index == session.frames_seen:
        session.smoother.keep(object_ids, shown_n1hw)
    elif frame.index == session.frames_seen - 1:
        session.smoother.replace(object_ids, shown_n1hw)
