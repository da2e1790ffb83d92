"""The objects of a clip by what a detector finds: prompts on the first frame with anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

from streamer.errors import ConfigError
from streamer.recorded.clip import Clip, as_it_is
from streamer.recorded.prompts import LARGEST_PALETTE_ID, PromptEntry
from streamer.types import Detection, ImageArray
from tracker.types import Prompt

_LOOKS_EVERY_S = 1.0
Find = Callable[[ImageArray], Sequence[Detection]]


def prompts_by_detector(clip: Clip, find: Find) -> list[PromptEntry]:
    """A box for each thing on the first frame where any is found; one frame a second is looked at.

    Boxes are rounded, so that a job goes on after a stop with the very same prompts. Raises
    ``ConfigError`` if nothing is found.
    """
    due_s = 0.0
    with closing(clip.read(0, backward=False, keep=as_it_is)) as frames:
        for index, image in frames:
            if image is None or clip.time_s(index) < due_s:
                continue
            if found := find(image)[:LARGEST_PALETTE_ID]:
                return [_entry(number, each, index) for number, each in enumerate(found, 1)]
            due_s = clip.time_s(index) + _LOOKS_EVERY_S
    raise ConfigError(
        f"{clip.path}: nothing of what --text names was found; name it otherwise, lower "
        "--text-score, or give --prompts"
    )


def _entry(object_id: int, found: Detection, frame_index: int) -> PromptEntry:
    x0, y0, x1, y1 = (round(each, 1) for each in found.box_xyxy)
    prompt = Prompt(object_id, box_xyxy=(x0, y0, x1, y1))
    return PromptEntry(f"--text, {found.label}", frame_index, prompt, found.label)
