"""Decoded rows awaiting commit: their results are written to memory or discarded.

Dimensions: N objects, n of one frame, h w mask grid, L grid tokens, c memory width, C hidden width.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tracker.policy.decision import MaskDecision
from tracker.policy.prediction import Observation, Prediction
from tracker.sessions.row import Row
from tracker.step.results import Delivery


@dataclass(frozen=True, slots=True)
class DecidedRows:
    """Decided rows and the results to keep; ``delivery`` is the transfer to the host.

    ``logits_by_frame`` (n, 1, h, w) are kept for corrections, ``shown_by_frame`` to smooth the
    next frame's masks.
    """

    by_frame: list[list[Row]]
    delivery: Delivery
    logits_by_frame: list[Tensor]
    shown_by_frame: list[Tensor]
    spatial_NLc: Tensor
    decision: MaskDecision
    prediction: Prediction | None
    observation: Observation | None

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
