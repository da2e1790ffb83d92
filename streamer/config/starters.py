"""The settings of a starter, which starts objects by itself."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from streamer.config.messages import WrongSettingError
from streamer.config.paths import FilePath, NameOrFolder
from streamer.config.published_detectors import PUBLISHED_DETECTORS
from streamer.config.section import Label, Point, Section

StarterKind = Literal["none", "motion", "torchvision", "text", "boxes", "python"]


class StarterSettings(Section):
    """Which detections become objects of a stream: the settings that the API may set too.

    ``rate_hz`` is the rate of detection passes. With ``keep_off_border`` a detection that touches
    the border waits until it is wholly in the picture. Null picks what suits the kind. ``labels``
    are the only ones accepted (empty: all); ``label`` names a detection without one. Areas are
    shares of the picture. A box's centre must lie in ``region``, a polygon of points [x, y] in
    source pixels (empty: everywhere). A detection becomes an object after ``minimum_hits``
    consecutive passes. A box that overlaps an object by ``match_iou`` is that object. At most
    ``maximum_objects`` of those it started are tracked at once (null: the stream's limit). What
    was removed by hand is ignored until it was out of sight for ``ignore_removed_s``. With
    ``find_lost`` an object unseen for ``lost_wait_s`` is prompted again at a detection like it.
    An object that it started is removed after ``remove_lost_s`` out of sight (0: never).
    ``captions`` belong to ``text``: what it looks for, in words, and the label of each. ``model``
    belongs to ``torchvision`` (null: the smallest); only a file may name that of ``text``.
    """

    kind: Literal["none", "motion", "torchvision", "text", "boxes"] = "none"
    rate_hz: float | None = Field(
        default=None,
        ge=0.01,
        le=60,
        description="detection passes a second; null: what suits the kind",
    )
    labels: list[Label] = Field(default=[], max_length=1000, description="only these; none: all")
    label: Label | None = None
    minimum_score: float = Field(default=0.5, ge=0, le=1)
    minimum_hits: int = Field(default=3, ge=1, le=100)
    minimum_area: float = Field(default=0.0005, ge=0, le=1)
    maximum_area: float = Field(default=0.5, ge=0, le=1)
    region: list[Point] = Field(default=[], max_length=256)
    keep_off_border: bool | None = None
    match_iou: float = Field(default=0.3, ge=0.05, le=0.95)
    maximum_objects: int | None = Field(default=None, ge=1, le=64)
    ignore_removed_s: float = Field(default=30.0, ge=0, le=86_400)
    find_lost: bool = True
    lost_wait_s: float = Field(default=1.0, ge=0, le=3600)
    remove_lost_s: float = Field(default=10.0, ge=0, le=86_400)
    timeout_s: float = Field(default=10.0, ge=0.1, le=300)
    captions: dict[Label, Label] = Field(
        default={}, max_length=64, description="of kind text: a label for each caption"
    )
    model: str | None = Field(
        default=None,
        json_schema_extra={"enum": [*PUBLISHED_DETECTORS, None]},
        description="of kind torchvision",
    )

    @field_validator("captions", mode="before")
    @classmethod
    def _may_be_a_list(cls, captions: object) -> object:
        """``[person, ball]``: captions that are labels themselves."""
        if isinstance(captions, list) and all(isinstance(each, str) for each in captions):
            return {each: each for each in captions}
        return captions

    @field_validator("model")
    @classmethod
    def _is_known(cls, model: str | None) -> str | None:
        if model is not None and model not in PUBLISHED_DETECTORS:
            raise WrongSettingError(
                f"must be one of {', '.join(PUBLISHED_DETECTORS)}, got {model!r}"
            )
        return model


class StarterConfig(StarterSettings):
    """A starter with what only a configuration file may name.

    ``model`` of ``text`` is a name of the Hugging Face hub, or a folder (null: a small Grounding
    DINO). ``device`` and ``threads`` belong to ``torchvision`` and ``text``, ``weights`` to
    ``torchvision``; ``factory`` (module:name) belongs to ``python``: it is called without arguments
    and returns a starter.
    """

    kind: StarterKind = "none"  # type: ignore[assignment]  # wider: only a file may name code
    model: NameOrFolder | None = None
    weights: FilePath | None = None
    device: str = Field(
        default="cpu",
        pattern=r"^(auto|cpu|mps|cuda(:\d{1,2})?)$",
        description="auto, cpu, mps, cuda or cuda:N",
    )
    threads: int = Field(default=1, ge=1, le=256)
    factory: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="MODULE:NAME, a callable that returns a starter",
    )

    @field_validator("model")
    @classmethod
    def _is_known(cls, model: str | None) -> str | None:
        return model  # by kind, below

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if self.kind == "torchvision" and self.model not in (None, *PUBLISHED_DETECTORS):
            raise WrongSettingError(
                f"must be one of {', '.join(PUBLISHED_DETECTORS)}, got {self.model!r}", "model"
            )
        if self.kind == "text" and self.model in PUBLISHED_DETECTORS:
            raise WrongSettingError(
                "must be a name of the Hugging Face hub (OWNER/MODEL), a folder, or null, got "
                f"{self.model!r}, which is of kind torchvision",
                "model",
            )
        if self.kind == "python" and self.factory is None:
            raise WrongSettingError("is missing: kind python needs MODULE:NAME", "factory")
        if self.kind != "python" and self.factory is not None:
            raise WrongSettingError(f"is only for kind python, and kind is {self.kind}", "factory")
        if self.minimum_area >= self.maximum_area:
            raise WrongSettingError(
                f"must be above minimum_area ({self.minimum_area:g}), got {self.maximum_area:g}",
                "maximum_area",
            )
        if self.kind == "motion" and self.labels:
            raise WrongSettingError(
                "must be empty: motion knows no labels and would start nothing; label names what "
                "it starts",
                "labels",
            )
        if 0 < len(self.region) < 3:
            raise WrongSettingError(
                "must be three or more points [x, y] in pixels, or empty for everywhere, got "
                f"{len(self.region)}",
                "region",
            )
        return self
