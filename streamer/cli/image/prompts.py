"""The objects that a command line points at, in its order."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from streamer.errors import ConfigError

if TYPE_CHECKING:
    from streamer.types import Detection
    from tracker import PicturePrompt
    from tracker.types import MaskArray

Option = tuple[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class ObjectPrompt:
    """One object of a picture: its number, its name, and where it is, in pixels."""

    object_id: int
    label: str | None = None
    points_xy: tuple[tuple[float, float], ...] = ()
    point_labels: tuple[int, ...] = ()
    box_xyxy: tuple[float, float, float, float] | None = None
    mask: MaskArray | None = None

    @property
    def is_ambiguous(self) -> bool:
        """Whether it leaves open what is meant: a single point may be a part or the whole."""
        return self.box_xyxy is None and self.mask is None and len(self.points_xy) == 1

    def for_network(self) -> PicturePrompt:
        """The same for ``ImagePredictor``."""
        from tracker import PicturePrompt  # with torch

        return PicturePrompt(
            self.points_xy or None, self.point_labels or None, self.box_xyxy, self.mask
        )


class InOrder(argparse.Action):
    """Collects options of different names in the order given, as ``prompts``."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        _option: str | None = None,
    ) -> None:
        """Append (name, value)."""
        namespace.prompts = [*namespace.prompts, (self.option_strings[0], values)]


def objects_of(options: Sequence[Option]) -> list[ObjectPrompt]:
    """Objects from options in order: each belongs to the object named last, at first to 1.

    Reads mask files. Raises ``ConfigError``, which names the option and the object.
    """
    objects: dict[int, ObjectPrompt] = {}
    current = 1
    for name, value in options:
        if name == "--object":
            current = value
        one = objects.get(current, ObjectPrompt(current))
        objects[current] = _with(one, name, value)
    for one in objects.values():
        if not one.points_xy and one.box_xyxy is None and one.mask is None:
            raise ConfigError(f"object {one.object_id}: give a --point, a --box or a --mask")
    return list(objects.values())


def detected_objects(found: Sequence[Detection]) -> list[ObjectPrompt]:
    """An object for each detection, numbered from 1."""
    return [
        ObjectPrompt(number, each.label, box_xyxy=each.box_xyxy)
        for number, each in enumerate(found, 1)
    ]


def _with(one: ObjectPrompt, name: str, value: Any) -> ObjectPrompt:
    """The object with one option more."""
    match name:
        case "--label":
            return replace(one, label=value)
        case "--point" | "--not-point":
            return replace(
                one,
                points_xy=(*one.points_xy, value),
                point_labels=(*one.point_labels, int(name == "--point")),
            )
        case "--box" if one.box_xyxy is None:
            return replace(one, box_xyxy=value)
        case "--mask" if one.mask is None:
            from streamer.inference.prompts.mask_file import read_mask  # with NumPy and Pillow

            return replace(one, mask=read_mask("--mask", value))
        case "--box" | "--mask":
            raise ConfigError(
                f"object {one.object_id} has two of {name}: give --object "
                f"{one.object_id + 1} before that of another object"
            )
    return one
