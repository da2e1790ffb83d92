"""Reads and checks the prompts of a job: the objects to follow, and where they are on which frame.

A file holds a list of entries, for every clip, or an object with a list for each clip's name:

    [{"frame_index": 0, "object_id": 1, "points": [[x, y]], "labels": [1]},
     {"frame_index": 40, "object_id": 1, "box": [x0, y0, x1, y1]},
     {"frame_index": 0, "object_id": 2, "mask": "ball.png"}]

All of it is checked, against every clip, before anything runs; an error names the place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from streamer.errors import ConfigError
from streamer.inference.prompts.mask_file import read_mask
from streamer.recorded.clip import Clip
from tracker.errors import PromptError
from tracker.sessions.prompts import prepare
from tracker.types import Prompt

FramePrompts = dict[int, tuple[Prompt, ...]]
"""The prompts of a clip by frame."""

# Palette pictures hold one byte a pixel, and 0 is the background.
LARGEST_PALETTE_ID = 255
_LARGEST_ID = 2**31 - 1
_LARGEST_FILE = 64 << 20
_KEYS = ("frame_index", "object_id", "points", "labels", "box", "mask")


@dataclass(frozen=True, slots=True)
class PromptEntry:
    """One entry, parsed. ``place`` is where it was read: for errors about a clip.

    ``name``: of the object's class, where a detector found it.
    """

    place: str
    frame_index: int
    prompt: Prompt
    name: str | None = None


def read_prompts(path: Path, clip_names: Sequence[str]) -> dict[str, list[PromptEntry]]:
    """The entries of a file for each of these clips. Raises ``ConfigError``.

    ``mask`` names a file, relative to the folder of the prompts; ``FILE:ID`` is one of several
    objects in it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)  # a device has no size, and no end
        if len(data) > _LARGEST_FILE:
            raise ConfigError(f"{path}: larger than {_LARGEST_FILE >> 20} MiB; give masks as files")
        once = partial(_without_repetition, path)
        content = json.loads(data.decode("utf-8-sig"), object_pairs_hook=once)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}; check --prompts") from error
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{path}, line {error.lineno}, column {error.colno}: no JSON: {error.msg}"
        ) from error
    except ConfigError:
        raise
    except (UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: no JSON: {error}") from error
    except ValueError as error:  # of Python, for a whole number of thousands of digits
        raise ConfigError(f"{path}: a number has too many digits") from error
    if isinstance(content, list):
        entries = parse_prompts(content, path.name, path.parent)
        return dict.fromkeys(clip_names, entries)
    if not isinstance(content, dict):
        raise ConfigError(
            f"{path.name}: must be a list of prompts, or an object with a list for each clip, got "
            f"{_kind(content)}"
        )
    by_stem: dict[str, str] = {}
    for key in content:
        other = by_stem.setdefault(key if key in clip_names else Path(key).stem, key)
        if other != key:
            raise ConfigError(
                f"{path.name}: {other!r} and {key!r} are the same clip; give all its prompts in one"
            )
    unknown = [key for stem, key in by_stem.items() if stem not in clip_names]
    missing = [name for name in clip_names if name not in by_stem]
    if unknown or missing:
        named = ", ".join(map(repr, (unknown or missing)[:5]))
        raise ConfigError(
            f"{path.name}: {'there is no clip' if unknown else 'no prompts for'} {named}; an "
            f"object has a list of prompts for each clip: {', '.join(clip_names)}"
        )
    return {
        stem: parse_prompts(content[key], f"{path.name}[{key!r}]", path.parent)
        for stem, key in by_stem.items()
    }


def parse_prompts(content: Any, name: str, folder: Path) -> list[PromptEntry]:
    """Entries as JSON has them, each checked alone. ``name`` begins the place of an error."""
    if not isinstance(content, list) or not content:
        raise ConfigError(f"{name}: must be a list of at least one prompt, got {_kind(content)}")
    entries: list[PromptEntry] = []
    masks: dict[str, Any] = {}  # each file is read once
    seen: dict[tuple[int, int], tuple[str, Any]] = {}
    for index, each in enumerate(content):
        place = f"{name}[{index}]"
        entry = _parsed(each, place, folder, masks)
        key = entry.frame_index, entry.prompt.object_id
        if key in seen:
            if seen[key][1] == each:
                continue  # the very same again
            raise ConfigError(
                f"{place}: object {key[1]} has another prompt on frame {key[0]} already, "
                f"{seen[key][0]}; give all its points and its box in one entry"
            )
        seen[key] = place, each
        entries.append(entry)
    return entries


def checked_for(
    entries: Sequence[PromptEntry],
    clip: Clip,
    image_size: int,
    *,
    backward: bool = False,
    largest_id: int | None = None,
) -> FramePrompts:
    """The prompts by frame, checked against the clip. Raises ``ConfigError`` with the place.

    ``image_size``: of the network, in which a small mask can vanish. ``backward``: whether an
    object begins with its last prompt. ``largest_id``: of an object.
    """
    result: dict[int, list[Prompt]] = {}
    begun: set[int] = set()
    for entry in sorted(entries, key=lambda each: each.frame_index, reverse=backward):
        if entry.frame_index >= clip.frames:
            last = clip.frames - 1
            raise ConfigError(
                f"{entry.place}.frame_index: {clip.path.name} has frames 0 to {last}, got "
                f"{entry.frame_index}"
            )
        if largest_id is not None and entry.prompt.object_id > largest_id:
            raise ConfigError(
                f"{entry.place}.object_id: palette pictures hold ids up to {largest_id}, got "
                f"{entry.prompt.object_id}; use smaller ids, or --rle in place of --masks"
            )
        try:
            prepare(entry.prompt, clip.height, clip.width, image_size)
        except PromptError as error:
            raise ConfigError(f"{entry.place}: {error} ({clip.path.name})") from error
        prompt = entry.prompt
        shown = prompt.mask is not None or prompt.box_xyxy is not None or 1 in prompt.point_labels
        if prompt.object_id not in begun and not shown:
            raise ConfigError(
                f"{entry.place}: object {prompt.object_id} begins here, with points beside it "
                "alone; give a point on it (label 1), a box or a mask"
            )
        begun.add(prompt.object_id)
        result.setdefault(entry.frame_index, []).append(entry.prompt)
    return {frame: tuple(own) for frame, own in result.items()}


def _parsed(each: Any, place: str, folder: Path, masks: dict[str, Any]) -> PromptEntry:
    if not isinstance(each, Mapping):
        raise ConfigError(f"{place}: a prompt is an object with {_listed()}, got {_kind(each)}")
    unknown = [key for key in each if key not in _KEYS]
    if unknown:
        raise ConfigError(f"{place}: unknown key {unknown[0]!r}; a prompt has {_listed()}")
    frame = _whole(each, "frame_index", place, 0)
    object_id = _whole(each, "object_id", place, 1)
    each = {key: value for key, value in each.items() if value is not None}  # null: not given
    points = [
        (_number(pair[0], f"{where}[0]"), _number(pair[1], f"{where}[1]"))
        for where, pair in _items(each, "points", place, 2)
    ]
    labels = []
    given = each.get("labels", [])
    if not isinstance(given, list):
        raise ConfigError(f"{place}.labels: must be a list of 1 and 0, got {_kind(given)}")
    for index, label in enumerate(given):
        if isinstance(label, bool) or label not in (0, 1):
            raise ConfigError(
                f"{place}.labels[{index}]: must be 1 (on the object) or 0 (not), got "
                f"{json.dumps(label)[:40]}"
            )
        labels.append(int(label))
    if len(labels) != len(points):
        raise ConfigError(
            f"{place}.labels: each point has a label, but there are {len(points)} points and "
            f"{len(labels)} labels"
        )
    box = None
    if "box" in each:
        sides = _list_of(each["box"], f"{place}.box", 4)
        x0, y0, x1, y1 = (_number(side, f"{place}.box[{i}]") for i, side in enumerate(sides))
        box = x0, y0, x1, y1
    mask = None
    if "mask" in each:
        file = each["mask"]
        if not isinstance(file, str) or not file or "\0" in file:
            raise ConfigError(f"{place}.mask: must be the name of a file, got {_kind(file)}")
        if file not in masks:
            masks[file] = read_mask(f"{place}.mask", str(folder / file))
        mask = masks[file]
    if not points and box is None and mask is None:
        raise ConfigError(f"{place}: give points with labels, a box or a mask")
    return PromptEntry(place, frame, Prompt(object_id, tuple(points), tuple(labels), box, mask))


def _items(
    each: Mapping[str, Any], key: str, place: str, length: int
) -> list[tuple[str, list[Any]]]:
    value = each.get(key, [])
    if not isinstance(value, list):
        raise ConfigError(f"{place}.{key}: must be a list of [x, y], got {_kind(value)}")
    return [
        (f"{place}.{key}[{index}]", _list_of(item, f"{place}.{key}[{index}]", length))
        for index, item in enumerate(value)
    ]


def _list_of(value: Any, where: str, length: int) -> list[Any]:
    if not isinstance(value, list) or len(value) != length:
        form = "[x, y]" if length == 2 else "[x0, y0, x1, y1]"
        raise ConfigError(f"{where}: must be {form} in pixels, got {json.dumps(value)[:60]}")
    return value


def _whole(each: Mapping[str, Any], key: str, place: str, least: int) -> int:
    if key not in each:
        raise ConfigError(f"{place}: {key} is missing; a prompt has {_listed()}")
    value = each[key]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _LARGEST_ID:
        bound = f"at least {least}" + (" (0 is the background)" if value == 0 else "")
        if isinstance(value, int) and value > _LARGEST_ID:
            bound = f"at most {_LARGEST_ID}"
        raise ConfigError(
            f"{place}.{key}: must be a whole number of {bound}, got {json.dumps(value)[:40]}"
        )
    return value


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ConfigError(f"{where}: must be a number of pixels, got {_kind(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ConfigError(f"{where}: must be a finite number of pixels, got {value}")
    return number


def _without_repetition(path: Path, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"{path}: {twice!r} is given twice in {json.dumps(result)[:80]}")
    return result


def _listed() -> str:
    return ", ".join(_KEYS)


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", type(None): "null"}
    if isinstance(value, list) and not value:
        return "an empty list"
    return names.get(type(value), json.dumps(value)[:40])
