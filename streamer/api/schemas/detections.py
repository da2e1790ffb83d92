"""Detections as JSON: what a detector outside the daemon found on one frame, and the answer."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from streamer.api.schemas.common import Answer, Box, Request
from streamer.api.schemas.objects import LONGEST_COUNTS, PromptedFrame, RequestId
from streamer.config.section import Label
from streamer.errors import WireError
from streamer.starters.detector import DETECTIONS_PER_PASS
from streamer.types import Detection
from streamer.wire.mask_codecs import MaskEncoding, decode_crop

# Bound: of all masks of one message, which are decoded and kept until they are judged.
MASK_PIXELS = 1 << 24
Reason = Literal["malformed", "unknown", "rate"]
Side = Annotated[int, Field(ge=0, le=65_535)]
Length = Annotated[int, Field(ge=1, le=65_535)]


class DetectedMask(Request):
    """A mask inside its box, as in the results: COCO's compressed run lengths."""

    encoding: Literal["rle"] = "rle"
    offset: tuple[Side, Side] = Field(description="x, y of the box in the picture")
    size: tuple[Length, Length] = Field(description="height, width of the box")
    counts: str = Field(min_length=1, max_length=LONGEST_COUNTS, pattern=r"^[0-o]+$")


class DetectedObject(Request):
    """One detection: a box in pixels of the source's picture, or a mask, which has its own."""

    box: Box | None = None
    mask: DetectedMask | None = None
    score: float = Field(default=1.0, ge=0, le=1, allow_inf_nan=False)
    label: Label | None = None

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if (self.box is None) == (self.mask is None):
            raise ValueError("give a box or a mask, one of them")
        return self

    def detection(self) -> Detection:
        """As a starter takes it. Raises ``WireError`` for a mask that cannot be decoded."""
        if self.mask is None:
            assert self.box is not None, "validated"
            return Detection(self.box, self.score, self.label)
        (x0, y0), (height, width) = self.mask.offset, self.mask.size
        crop = decode_crop(self.mask.counts.encode("ascii"), MaskEncoding.RLE, height, width)
        box = (float(x0), float(y0), float(x0 + width), float(y0 + height))
        return Detection(box, self.score, self.label, crop)


class Detections(PromptedFrame):
    """Everything that was detected on one frame, also nothing; by index or capture time."""

    boxes: list[DetectedObject] = Field(max_length=DETECTIONS_PER_PASS)
    request_id: RequestId | None = Field(
        default=None, description="repeated by the answer; over a WebSocket, asks for one"
    )

    @model_validator(mode="after")
    def _names_a_frame(self) -> Self:
        if (self.frame_index is None) == (self.capture_time_ns is None):
            raise ValueError("name the frame by frame_index or capture_time_ns, one of them")
        masks = [each.mask.size for each in self.boxes if each.mask is not None]
        pixels = sum(height * width for height, width in masks)
        if pixels > MASK_PIXELS:
            raise ValueError(
                f"the masks have {pixels} pixels together, {MASK_PIXELS} are allowed: send crops, "
                "not whole pictures"
            )
        return self

    async def detections(self) -> list[Detection]:
        """As a starter takes them. Raises ``WireError`` for a mask that cannot be decoded."""
        if any(each.mask is not None for each in self.boxes):
            # Off the event loop: many large masks take a good part of a second.
            return await asyncio.to_thread(self._converted)
        return self._converted()

    def _converted(self) -> list[Detection]:
        converted = []
        for index, each in enumerate(self.boxes):
            try:
                converted.append(each.detection())
            except WireError as error:
                raise WireError(f"/boxes/{index}/mask/counts: {error}") from error
        return converted


class DetectionsAnswer(Answer):
    """Whether detections were accepted; a WebSocket says why not in a word and a sentence."""

    accepted: bool
    request_id: str | None = None
    reason: Reason | None = None
    detail: str | None = None
