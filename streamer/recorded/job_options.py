"""What a job is asked for: how clips are tracked, and what is written for each."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from streamer.recorded.outputs.confidences import ConfidenceForm
from streamer.recorded.passes import Direction


@dataclass(frozen=True, slots=True)
class Outputs:
    """What is written for each clip; ``preview`` alone tracks nothing."""

    masks: bool = False
    confidences: ConfidenceForm | None = None
    boxes: bool = False
    mot: bool = False
    rle: bool = False
    coco: Literal["rle", "polygons"] | None = None
    youtube_vis: bool = False
    debug: bool = False
    preview: bool = False

    @property
    def tracks(self) -> bool:
        """Whether anything needs the whole clip."""
        return any(value for key, value in asdict(self).items() if key != "preview")


@dataclass(frozen=True, slots=True)
class JobOptions:
    """How clips are tracked and what is written; ``together`` clips are in one batch."""

    out: Path
    outputs: Outputs = field(default_factory=lambda: Outputs(masks=True, boxes=True))
    direction: Direction = Direction.FORWARD
    model: str = "nano"
    device: str = "auto"
    together: int = 1
    overwrite: bool = False
