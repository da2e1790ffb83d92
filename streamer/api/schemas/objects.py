"""Objects and prompts as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from streamer.api.schemas.common import Answer, Box, Request
from streamer.config.section import Label, ObjectId, Pixel
from streamer.inference.prompts.request import PromptOutcome
from streamer.sinks.json_messages import finite
from streamer.types import FrameReference, ObjectSummary
from streamer.wire.mask_codecs import MaskEncoding, encode_crop
from tracker.types import MaskArray, Prompt, Track, TrackState

# A ragged mask of a 4K picture has 200 kB.
LONGEST_COUNTS = 1024 * 1024
Colour = Annotated[
    str, Field(pattern=r"^#[0-9a-fA-F]{6}$", description="#rrggbb", examples=["#e69f00"])
]
ExpectedBox = Annotated[
    tuple[float, float, float, float] | None,
    Field(
        description="of an object that is not seen: where its motion would have taken it, a guess "
        "that may reach beyond the picture; null where it is unknown"
    ),
]
RequestId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$", examples=["click-17"])]


class Point(Request):
    """A point on the object, or beside it; also as `[x, y]`, with its label in `labels`."""

    x: Pixel
    y: Pixel
    positive: bool = Field(default=True, description="on the object; false: beside it")

    @model_validator(mode="before")
    @classmethod
    def _from_pair(cls, given: object) -> object:
        if not isinstance(given, list):
            return given
        if len(given) != 2:
            raise ValueError(f"a point is [x, y], got {len(given)} values")
        return dict(zip("xy", given, strict=True))


class MaskInput(Request):
    """A mask in COCO's compressed run lengths: of the whole picture, or as answers have it.

    The latter has an ``offset`` and is of a part of the picture; the rest is not set.
    """

    encoding: Literal["rle"] = "rle"
    offset: (
        tuple[Annotated[int, Field(ge=0, le=16_384)], Annotated[int, Field(ge=0, le=16_384)]] | None
    ) = Field(default=None, description="x, y of the part in the picture")
    size: tuple[Annotated[int, Field(ge=1, le=16_384)], Annotated[int, Field(ge=1, le=16_384)]] = (
        Field(
            description="height, width: those of the stream's picture, or of the part",
            examples=[[720, 1280]],
        )
    )
    counts: str = Field(min_length=1, max_length=LONGEST_COUNTS, pattern=r"^[0-o]+$")
    whole: bool = Field(default=False, description="accept a mask of nearly the whole picture")


class PromptedFrame(Request):
    """The frame that the user saw; without any value the newest."""

    frame_index: int | None = Field(default=None, ge=0, le=2**53)
    capture_time_ns: int | None = Field(
        default=None, ge=0, lt=2**63, description="the tracked frame nearest to it"
    )
    session_id: str | None = Field(default=None, min_length=1, max_length=64)

    def reference(self) -> FrameReference:
        """The daemon's type for it."""
        return FrameReference(self.frame_index, self.capture_time_ns, self.session_id)


class PromptBody(Request):
    """Points, a box, both, or a mask, in pixels of the source's picture."""

    label: Label | None = None
    colour: Colour | None = None
    points: list[Point] = Field(default_factory=list, max_length=256)
    labels: list[Annotated[int, Field(ge=0, le=1)]] | None = Field(
        default=None,
        max_length=256,
        description="of each point, as in SAM: 1 on the object, 0 beside it; instead of `positive`",
    )
    box: Box | None = None
    mask: MaskInput | None = None
    frame: PromptedFrame | None = Field(
        default=None, description="the frame that was clicked on; without it the next one"
    )
    correct: bool = Field(
        default=False,
        description="refine the object as it was found on that frame, instead of starting it there",
    )
    replace_points: bool = Field(
        default=False, description="forget the points given before, instead of adding to them"
    )
    request_id: RequestId | None = Field(
        default=None,
        description="repeated in the response and in the event; generated where there is none",
    )

    @model_validator(mode="after")
    def _points_at_something(self) -> Self:
        if self.mask is not None and (self.points or self.box is not None):
            raise ValueError("mask excludes points and box")
        if self.mask is None and not self.points and self.box is None:
            raise ValueError("give points, a box or a mask")
        if self.labels is not None:
            if len(self.labels) != len(self.points):
                raise ValueError(f"{len(self.points)} points but {len(self.labels)} labels")
            if any("positive" in point.model_fields_set for point in self.points):
                raise ValueError("labels excludes positive: label a point by one of them")
        return self

    def prompt(self, object_id: int, mask: MaskArray | None) -> Prompt:
        """The tracker's type for it."""
        return Prompt(
            object_id=object_id,
            points_xy=tuple((point.x, point.y) for point in self.points),
            point_labels=tuple(self.labels or (int(point.positive) for point in self.points)),
            box_xyxy=self.box,
            mask=mask,
            replace_points=self.replace_points,
        )

    def reference(self) -> FrameReference | None:
        """The frame to apply it to, None for the next one."""
        return None if self.frame is None else self.frame.reference()


class NewObject(PromptBody):
    """An object to track; without an id it gets the next id that was never used."""

    object_id: ObjectId | None = None


class ObjectChange(Request):
    """A new name or colour; what is not given does not change, null removes it."""

    label: Label | None = None
    colour: Colour | None = None


class ObjectAnswer(Answer):
    """One object on the stream's newest frame."""

    id: int
    label: str | None = Field(examples=["keeper"])
    colour: str | None = Field(examples=["#e69f00"])
    state: TrackState
    bbox: tuple[int, int, int, int] = Field(description="half-open x0, y0, x1, y1; zeros: unseen")
    bbox_expected: ExpectedBox
    area: int = Field(description="pixels")
    score: float = Field(description="the model's own estimate of the mask's IoU, 0 to 1")
    score_calibrated: float | None = Field(
        description="what masks of this score had in IoU; null: the model is not calibrated"
    )
    object_score: float = Field(description="probability that the object is in the picture")
    frame_index: int = Field(description="-1: restored, and not looked for on a frame yet")


class ObjectsAnswer(Answer):
    """Every object of a stream."""

    objects: list[ObjectAnswer]


class MaskAnswer(Answer):
    """The mask inside the object's box, in COCO's compressed run lengths."""

    encoding: Literal["rle"] = "rle"
    offset: tuple[int, int] = Field(description="x, y of the box in the picture")
    size: tuple[int, int] = Field(description="height, width of the box")
    counts: str


class TrackAnswer(Answer):
    """An object on one frame, with its mask."""

    object_id: int
    state: TrackState
    bbox: tuple[int, int, int, int]
    bbox_expected: ExpectedBox
    area: int
    score: float
    score_calibrated: float | None
    object_score: float
    mask: MaskAnswer | None = Field(description="null: no pixel is set")


class LatestAnswer(Answer):
    """The object on the newest frame, tracked there from the prompted one."""

    frame_index: int
    track: TrackAnswer


class PromptAnswer(Answer):
    """The object on the frame that the prompt was applied to."""

    request_id: str
    object_id: int
    applied: Literal[True] = True
    frame_index: int
    track: TrackAnswer
    latest: LatestAnswer | None


def object_answer(summary: ObjectSummary) -> ObjectAnswer:
    """The response body of an object."""
    return ObjectAnswer(
        id=summary.object_id,
        label=summary.label,
        colour=summary.colour,
        state=summary.state,
        bbox=summary.box_xyxy,
        bbox_expected=summary.expected_box_xyxy,
        area=summary.area,
        score=finite(summary.predicted_iou),
        score_calibrated=summary.calibrated_iou,
        object_score=finite(summary.object_score),
        frame_index=summary.frame_index,
    )


def objects_answer(summaries: Sequence[ObjectSummary]) -> ObjectsAnswer:
    """The response body of a stream's objects."""
    return ObjectsAnswer(objects=[object_answer(each) for each in summaries])


def prompt_answer(outcome: PromptOutcome) -> PromptAnswer:
    """The response body of an applied prompt."""
    assert outcome.track is not None, "an applied prompt has a track"
    assert outcome.frame_index is not None, "an applied prompt has a frame"
    latest = None
    if outcome.latest_track is not None and outcome.latest_frame_index is not None:
        latest = LatestAnswer(
            frame_index=outcome.latest_frame_index, track=_track_answer(outcome.latest_track)
        )
    return PromptAnswer(
        request_id=outcome.request_id,
        object_id=outcome.object_id,
        frame_index=outcome.frame_index,
        track=_track_answer(outcome.track),
        latest=latest,
    )


def mask_answer(crop: MaskArray, box_xyxy: tuple[int, int, int, int]) -> MaskAnswer:
    """The mask inside a box."""
    x0, y0, x1, y1 = box_xyxy
    counts = encode_crop(crop, MaskEncoding.RLE).decode("ascii")
    return MaskAnswer(offset=(x0, y0), size=(y1 - y0, x1 - x0), counts=counts)


def _track_answer(track: Track) -> TrackAnswer:
    x0, y0, x1, y1 = (int(side) for side in track.box_xyxy)
    mask = mask_answer(track.crop, (x0, y0, x1, y1)) if track.area > 0 else None
    return TrackAnswer(
        object_id=track.object_id,
        state=track.state,
        bbox=(x0, y0, x1, y1),
        bbox_expected=None if track.area else track.predicted_box_xyxy,
        area=int(track.area),
        score=finite(track.predicted_iou),
        score_calibrated=track.calibrated_iou,
        object_score=finite(track.object_score),
        mask=mask,
    )
