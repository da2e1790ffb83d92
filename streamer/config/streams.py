"""The settings of one stream and of the objects tracked on it from the start.

``StreamSettings`` and ``ObjectSettings`` are what the API may set too; the configuration file may
also name files and credentials of the daemon's machine.
"""

from __future__ import annotations

import itertools
import math
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError

from streamer.config.messages import WrongSettingError
from streamer.config.paths import FilePath, Options, StartsInFolder, absolute_url
from streamer.config.section import Label, ObjectId, Pixel, Point, Section
from streamer.config.starters import StarterConfig, StarterSettings
from streamer.runtime.address import Address, AddressError

Transport = Literal["tcp", "udp"]
Decoder = Literal["auto", "software", "cuda"]


def as_address(value: object) -> Address:
    """The address that a setting writes; for pydantic."""
    if isinstance(value, Address):
        return value
    if not isinstance(value, str):
        raise PydanticKnownError("string_type")
    try:
        return Address.parse(value)
    except AddressError as error:
        raise WrongSettingError(str(error)) from None


StreamAddress = Annotated[
    Address,
    PlainValidator(as_address),
    PlainSerializer(lambda address: address.text),
    StartsInFolder(absolute_url),
]
_Corner = tuple[float, float]


def _is_box(box: list[float]) -> list[float]:
    if box[0] >= box[2] or box[1] >= box[3]:
        raise WrongSettingError(f"must be {_BOX_RULE}, got {box}")
    return box


_BOX_RULE = "[x0, y0, x1, y1] with x0 < x1 and y0 < y1"
_Box = Annotated[
    list[Pixel], AfterValidator(_is_box), Field(min_length=4, max_length=4, description=_BOX_RULE)
]
_Metre = Annotated[float, Field(ge=-1_000_000, le=1_000_000)]
_GroundPoint = Annotated[
    list[_Metre],
    Field(min_length=4, max_length=4, description="[x, y, X, Y], pixels and metres"),
]


class ReconnectConfig(Section):
    """Waits between connection attempts: ``initial_s · factorⁿ`` up to ``maximum_s``, ± ``jitter``.

    A connection that lived for ``reset_after_s`` starts the series again.
    """

    initial_s: float = Field(default=1.0, ge=0.05, le=3600)
    maximum_s: float = Field(default=60.0, ge=0.05, le=86_400)
    factor: float = Field(default=2.0, ge=1, le=10)
    jitter: float = Field(default=0.2, ge=0, le=1)
    reset_after_s: float = Field(default=30.0, ge=0, le=86_400)


class ObjectSettings(Section):
    """An object to track from the stream's start: points, a box or both, in source pixels.

    ``point_labels`` holds 1 for a point on the object and 0 for a point beside it; left out,
    every point is on the object. ``box`` is x0, y0, x1, y1, half-open.
    """

    id: ObjectId
    label: Label | None = None
    points: list[Point] = Field(default=[], max_length=256)
    point_labels: list[Literal[0, 1]] = Field(default=[], max_length=256)
    box: _Box | None = None
    at_frame: int = Field(default=0, ge=0, le=2**53)

    @model_validator(mode="after")
    def _labels_match_points(self) -> Self:
        if self.point_labels and len(self.point_labels) != len(self.points):
            raise WrongSettingError(
                f"must hold one label a point ({len(self.points)}), got {len(self.point_labels)}",
                "point_labels",
            )
        return self


class ObjectConfig(ObjectSettings):
    """Also ``mask_file``: a picture of the object alone, not transparent or not black.

    ``FILE:ID`` selects one of several objects by its grey level, palette entry or ``#rrggbb``.
    """

    mask_file: FilePath | None = None

    @model_validator(mode="after")
    def _is_shown_one_way(self) -> Self:
        is_given = bool(self.points) or self.box is not None
        if self.mask_file is not None and is_given:
            raise WrongSettingError("must not have points or a box beside mask_file")
        if self.mask_file is None and not is_given:
            raise WrongSettingError("must have points, a box or a mask_file")
        return self


class SmoothingConfig(Section):
    """Less jitter in a stream's results, at the price of a lag; off by default.

    ``boxes``: results carry a second box, ``bbox_smooth``, low-passed: at rest below
    ``box_cutoff_hz``, and ``box_speed_factor`` higher for each box size a second. It trails by
    1 / (2π cutoff): with the defaults 0.11 s at rest, 0.03 s at one box size a second.
    ``masks`` is the weight of the mask before (0: none): pixels that the model is sure of do not
    wait, unsure ones trail by masks / (1 - masks) frames, 0.4 for 0.3.
    """

    boxes: bool = Field(default=False, description="results carry bbox_smooth too")
    box_cutoff_hz: float = Field(default=1.5, ge=0.05, le=100)
    box_speed_factor: float = Field(default=4.0, ge=0, le=100)
    masks: float = Field(default=0.0, ge=0, le=0.45, description="the weight of the mask before")


class StreamSettings(Section):
    """The settings of a stream that the API may set, beside its URL.

    ``paced`` plays a file in real time (frames that come too fast are dropped as on a camera);
    without it every frame of the file is tracked, as fast as the model allows. A camera's own clock
    comes into use within nine tenths of ``clock_tolerance_s`` of ours, and is given up beyond all
    of it. ``options`` go to FFmpeg unchanged. ``decoder``: ``auto`` decodes on an NVIDIA device
    (NVDEC) where there is one that can and is not full, else on the processor; ``cuda`` ends an
    attempt that cannot. A device that fails in mid-stream is given up either way. A ``paused``
    stream stays connected and is not tracked. Where the device cannot keep up, streams of a higher
    ``priority`` are served first (``overload``). ``ground_plane`` is four points [x, y, X, Y],
    pixels of the picture and metres on flat ground, no three in a line: it gives speeds in metres a
    second. ``starter`` is this stream's own, instead of the general one.
    """

    transport: Transport = "tcp"
    decoder: Decoder = Field(
        default="auto", description="where video is decoded; cuda: on NVDEC, or not at all"
    )
    open_timeout_s: float = Field(default=10.0, ge=0.1, le=300)
    read_timeout_s: float = Field(default=5.0, ge=0.1, le=300)
    clock_tolerance_s: float = Field(default=10.0, ge=0, le=86_400)
    max_rate_hz: float | None = Field(
        default=None,
        ge=0.01,
        le=1000,
        description="frames above this rate are not tracked; null: all are",
    )
    paced: bool = True
    loop: bool = False
    paused: bool = Field(default=False, description="connected, but not tracked")
    max_objects: int = Field(default=16, ge=1, le=64)
    priority: int = Field(
        default=5, ge=0, le=9, description="a higher one goes first when the device is overloaded"
    )
    ground_plane: list[_GroundPoint] = Field(
        default=[],
        max_length=4,
        description="four points [x, y, X, Y] in pixels and metres, or none",
    )
    starter: StarterSettings | None = None
    smoothing: SmoothingConfig = SmoothingConfig()
    reconnect: ReconnectConfig = ReconnectConfig()
    options: Options = Field(
        default={},
        repr=False,  # headers, cookies and keys may stand in it
        max_length=16,
        description="of FFmpeg; only some may be set over the API",
        examples=[{"buffer_size": "1048576"}],
    )

    @field_validator("ground_plane")
    @classmethod
    def _is_plane(cls, points: list[list[float]]) -> list[list[float]]:
        if len(points) not in (0, 4):
            raise WrongSettingError(
                f"must be four points [x, y, X, Y] in pixels and metres, or none, got {len(points)}"
            )
        for name, first in (("picture", 0), ("ground", 2)):
            corners = [(point[first], point[first + 1]) for point in points]
            for three in itertools.combinations(range(len(points)), 3):
                if _in_a_line(*(corners[index] for index in three)):
                    raise WrongSettingError(
                        f"must have no three points in a line, and "
                        f"{', '.join(str(index) for index in three)} are, on the {name}"
                    )
        return points


class StreamConfig(StreamSettings):
    """One camera, file or scene, where its credential comes from, and the objects to track."""

    url: StreamAddress
    username_env: str | None = None
    password_env: str | None = None
    password_file: FilePath | None = None
    objects: list[ObjectConfig] = Field(default=[], max_length=64)
    starter: StarterConfig | None = None

    @model_validator(mode="after")
    def _settings_agree(self) -> Self:
        if self.password_env and self.password_file:
            raise WrongSettingError("must not have both password_env and password_file")
        if self.reconnect.maximum_s < self.reconnect.initial_s:
            raise WrongSettingError(
                f"must be at least initial_s ({self.reconnect.initial_s:g}), got "
                f"{self.reconnect.maximum_s:g}",
                "reconnect.maximum_s",
            )
        if len(self.objects) > self.max_objects:
            raise WrongSettingError(
                f"must be at least {len(self.objects)}, the objects configured, got "
                f"{self.max_objects}",
                "max_objects",
            )
        seen: set[int] = set()
        for index, target in enumerate(self.objects):
            if target.id in seen:
                raise WrongSettingError(f"{target.id} is used twice", f"objects[{index}].id")
            seen.add(target.id)
        return self


def _in_a_line(first: _Corner, second: _Corner, third: _Corner) -> bool:
    """Whether the triangle's height is less than a thousandth of its longest side."""
    longest = max(math.dist(*pair) for pair in itertools.combinations((first, second, third), 2))
    doubled_area = (second[0] - first[0]) * (third[1] - first[1]) - (third[0] - first[0]) * (
        second[1] - first[1]
    )
    return abs(doubled_area) <= 1e-3 * longest * longest
