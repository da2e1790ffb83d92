"""Objects and frames as a starter sees them, made by hand."""

from __future__ import annotations

import numpy as np

from streamer.starters.matching import VisibleObject
from streamer.starters.policy import FrameFacts
from streamer.types import Detection, ObjectResult
from tracker.types import Track, TrackState

WIDTH, HEIGHT = 200, 100
Box = tuple[int, int, int, int]


def followed(object_id: int, box: Box | None, label: str | None = None) -> ObjectResult:
    """An object with a mask that fills its box; an object without a box is hidden."""
    x0, y0, x1, y1 = box or (0, 0, 0, 0)
    return ObjectResult(
        Track(
            object_id=object_id,
            state=TrackState.VISIBLE if box else TrackState.LOST,
            box_xyxy=(x0, y0, x1, y1),
            crop=np.ones((y1 - y0, x1 - x0), dtype=np.bool_),
            area=(x1 - x0) * (y1 - y0),
            predicted_iou=0.9,
            object_score=0.9,
            frame_height=HEIGHT,
            frame_width=WIDTH,
        ),
        label,
    )


def seen(object_id: int, box: Box, label: str | None = None) -> VisibleObject:
    x0, y0, x1, y1 = box
    return VisibleObject(object_id, label, box, np.ones((y1 - y0, x1 - x0), dtype=np.bool_))


def frame(
    index: int, *objects: ObjectResult, look_s: float = 0.2, session: str = "s", **further: object
) -> FrameFacts:
    """The frame of detection pass ``index``."""
    return FrameFacts(
        frame_index=index,
        session_id=session,
        time_ns=round(index * look_s * 1e9),
        width=WIDTH,
        height=HEIGHT,
        objects=objects,
        **further,  # type: ignore[arg-type]
    )


def thing(x: float, y: float = 30, label: str | None = None, score: float = 0.9) -> Detection:
    """A thing of 20 × 40 pixels."""
    return Detection((x, y, x + 20, y + 40), score, label)
