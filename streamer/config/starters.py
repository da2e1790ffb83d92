"""The settings of a starter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from streamer.config.parsing import (
    one_of_forms,
    ranged,
)

StarterKind = Literal["none", "motion", "torchvision", "boxes", "python"]
# Characters that every program can show, as in an object's label.
_LABEL = r"[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,128}"
_LABEL_RULE = "1 to 128 characters, none of them a control character"


@dataclass(slots=True)
class StarterConfig:
    """What starts objects by itself on a stream, and which of its finds it may start.

    ``rate_hz`` is how often it looks, ``keep_off_border`` lets what touches the border wait until
    it is in the picture as a whole; null is what suits the kind. ``labels`` are the only ones
    taken (empty: all), ``label`` names what comes without one. Areas are shares of the picture.
    ``region`` is a polygon of points [x, y] in source pixels that a box's middle must lie in
    (empty: everywhere). ``minimum_hits`` looks in a row must see a thing before it is started. A
    box that overlaps an object by ``match_iou`` is that object. ``maximum_objects`` are followed
    at once of those that it started (null: as many as the stream may). What was removed by hand
    is left alone until it was out of sight for ``ignore_removed_s``. With ``find_lost`` an
    object that was not seen for ``lost_wait_s`` is prompted anew where a detection like it is.
    What it started and is out of sight for ``remove_lost_s`` is removed (0: never).

    ``model``, ``weights``, ``device`` and ``threads`` are those of ``torchvision``; ``factory``
    (module:name) of ``python`` is called without arguments and returns a starter.
    """

    kind: StarterKind = "none"
    rate_hz: float | None = ranged(None, 0.01, 60)
    labels: list[str] = field(default_factory=list)
    label: str | None = one_of_forms(None, _LABEL, _LABEL_RULE)
    minimum_score: float = ranged(0.5, 0, 1)
    minimum_hits: int = ranged(3, 1, 100)
    minimum_area: float = ranged(0.0005, 0, 1)
    maximum_area: float = ranged(0.5, 0, 1)
    region: list[list[float]] = field(default_factory=list)
    keep_off_border: bool | None = None
    match_iou: float = ranged(0.3, 0.05, 0.95)
    maximum_objects: int | None = ranged(None, 1, 64)
    ignore_removed_s: float = ranged(30.0, 0, 86_400)
    find_lost: bool = True
    lost_wait_s: float = ranged(1.0, 0, 3600)
    remove_lost_s: float = ranged(10.0, 0, 86_400)
    timeout_s: float = ranged(10.0, 0.1, 300)
    model: str = "fasterrcnn_mobilenet_v3_large_320_fpn"
    weights: str | None = None
    device: str = one_of_forms(
        "cpu", r"auto|cpu|mps|cuda(:\d{1,2})?", "auto, cpu, mps, cuda or cuda:N"
    )
    threads: int = ranged(1, 1, 256)
    factory: str | None = one_of_forms(
        None, r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", "MODULE:NAME, a callable that returns a starter"
    )
