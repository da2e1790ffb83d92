"""A search for everything on a frame, and what it found, as JSON."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from streamer.api.schemas.common import Answer, Request
from streamer.api.schemas.objects import MaskAnswer, PromptedFrame, mask_answer
from streamer.inference.segment_searches import FrameSegments
from streamer.types import FrameReference

# The best ones; a mask of a busy picture has some kB.
MOST_SEGMENTS = 500
Share = Annotated[float | None, Field(ge=0, le=1)]


class SegmentSearch(Request):
    """What to look for; null or absent: what suits the model."""

    points_per_side: Annotated[
        int | None, Field(ge=1, le=64, description="the picture is asked at a grid of points")
    ] = None
    pred_iou_thresh: Share = Field(default=None, description="least predicted IoU of a mask")
    stability_score_thresh: Share = Field(
        default=None, description="least IoU of a mask with itself at shifted thresholds"
    )
    stability_score_offset: float | None = Field(default=None, ge=0, le=100)
    box_nms_thresh: Share = Field(default=None, description="largest overlap of two masks' boxes")
    min_mask_region_area: int = Field(
        default=0, ge=0, le=2**31, description="pixels of a hole or region that is removed"
    )

    frame: PromptedFrame | None = Field(default=None, description="without it the newest one")

    def changes(self) -> dict[str, Any]:
        """What differs from the daemon's defaults."""
        return self.model_dump(exclude_none=True, exclude={"frame"})

    def reference(self) -> FrameReference | None:
        """The frame to search, None for the newest one."""
        return None if self.frame is None else self.frame.reference()


class SegmentAnswer(Answer):
    """One mask, to be tracked by sending `mask` to `POST …/objects` with the same frame."""

    bbox: tuple[int, int, int, int] = Field(description="half-open x0, y0, x1, y1")
    area: int = Field(description="pixels")
    predicted_iou: float
    stability_score: float
    point: tuple[float, float] = Field(description="x, y of the point that it answers")
    mask: MaskAnswer


class SegmentsAnswer(Answer):
    """Everything on one frame, the best first; the frame can be prompted for half a minute."""

    frame_index: int
    session_id: str
    width: int
    height: int
    segments: list[SegmentAnswer]


def segments_answer(found: FrameSegments) -> SegmentsAnswer:
    """What was found as JSON."""
    return SegmentsAnswer(
        frame_index=found.frame_index,
        session_id=found.session_id,
        width=found.width,
        height=found.height,
        segments=[
            SegmentAnswer(
                bbox=each.box_xyxy,
                area=each.area,
                predicted_iou=each.predicted_iou,
                stability_score=each.stability_score,
                point=each.point_xy,
                mask=mask_answer(each.crop, each.box_xyxy),
            )
            for each in found.segments[:MOST_SEGMENTS]
        ],
    )
