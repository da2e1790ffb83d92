"""In which order the frames of a clip are tracked, and which prompts apply where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from streamer.recorded.prompts import FramePrompts
from tracker.types import Prompt


class Direction(StrEnum):
    """Which frames an object is tracked on.

    ``FORWARD``: from its first prompt to the end. ``BACKWARD``: from its last prompt to the
    beginning. ``BOTH``: from its first prompt to the end, then from there to the beginning.
    """

    FORWARD = "forward"
    BACKWARD = "backward"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Pass:
    """One way through a clip: begins at ``start``; each prompt applies when its frame is reached.

    ``known``: for an object, the frame on which an earlier pass has its result.
    """

    start: int
    backward: bool
    prompts: Mapping[int, tuple[Prompt, ...]]
    known: Mapping[int, int]

    def frames(self, clip_frames: int) -> int:
        """How many frames it takes."""
        return self.start + 1 if self.backward else clip_frames - self.start


def passes_of(direction: Direction, prompts: FramePrompts) -> tuple[Pass, ...]:
    """The passes, in order. Every frame of an object is tracked in one of them only."""
    if direction is Direction.FORWARD:
        return (Pass(min(prompts), False, prompts, {}),)
    if direction is Direction.BACKWARD:
        return (Pass(max(prompts), True, prompts, {}),)
    firsts: dict[int, tuple[int, Prompt]] = {}
    for frame in sorted(prompts):
        for prompt in prompts[frame]:
            firsts.setdefault(prompt.object_id, (frame, prompt))
    before: dict[int, tuple[Prompt, ...]] = {}
    for frame, prompt in firsts.values():
        if frame > 0:
            before[frame] = (*before.get(frame, ()), prompt)
    forward = Pass(min(prompts), False, prompts, {})
    if not before:
        return (forward,)
    known = {object_id: frame for object_id, (frame, _) in firsts.items()}
    return forward, Pass(max(before), True, before, known)
