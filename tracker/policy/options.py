"""The techniques of the robust memory policy, each with its switch or number."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RobustOptions:
    """What ``memory_policy="robust"`` does; nothing here needs training.

    As long as an object is in sight, its memories are those of the paper's policy but for masks
    that the network itself does not believe; what differs comes after absences, cuts and gaps. Off
    are techniques that did not pay with nano (``docs/evaluation.md`` has their rows).

    Which frames are remembered:
    ``skip_absent``: a frame on which the object is not seen overwrites nothing, and leaves no
    pointer. ``recent_stride``: of the frames seen, each so many-th stays among the recent ones,
    with the last. ``recent_memories``: so many recent frames are looked at, 1..6.
    ``write_iou``: below this predicted IoU nothing is remembered (0: no such gate).
    ``return_iou``: the same for an object that was out of sight, until a frame of it is
    remembered again.
    ``anchors``: so many frames that told the object from a look-alike are kept besides
    (0..3). ``largest_pointer_age``: pointers count as at most so many frames old.

    What is taken for the object:
    ``motion_weight``: share of the motion model in the choice among the decoder's masks, after
    ``steady_frames`` frames of being seen (0: predicted IoU alone). ``motion_gate``: a mask that
    does not touch the predicted box is not remembered. ``camera_motion``: the prediction moves
    with the camera. ``competition``: objects of one stream do not share a region.
    ``reject_floods``: a mask that suddenly fills the picture is no object.
    ``hypotheses``: an object of which the decoder's masks contradict one another is followed
    along so many paths at most, each with its own memories, until one of them proves the better
    (1..3; 1: never). ``hypothesis_rows``: so many paths beyond the first, of all objects
    together (1..256); each reserves the memory of one object.

    What the stream does:
    ``scene_cuts``: across a cut nothing is remembered as if it were motion.
    ``track_before_prompt``: a click on a live object corrects what was tracked on that frame,
    instead of starting it anew there.
    """

    skip_absent: bool = True
    recent_stride: int = 1
    recent_memories: int = 6
    write_iou: float = 0.2
    return_iou: float = 0.3
    anchors: int = 0
    largest_pointer_age: int = 256
    motion_weight: float = 0.0
    steady_frames: int = 15
    motion_gate: bool = False
    camera_motion: bool = True
    competition: bool = False
    reject_floods: bool = True
    hypotheses: int = 1
    hypothesis_rows: int = 8
    scene_cuts: bool = True
    track_before_prompt: bool = True

    def __post_init__(self) -> None:
        for name, least, most in (
            ("recent_stride", 1, 1000),
            ("recent_memories", 1, 6),
            ("write_iou", 0, 1),
            ("return_iou", 0, 1),
            ("anchors", 0, 3),
            ("largest_pointer_age", 1, 256),
            ("motion_weight", 0, 1),
            ("steady_frames", 1, 1000),
            ("hypotheses", 1, 3),
            ("hypothesis_rows", 1, 256),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise ValueError(f"robust.{name} must be {least}..{most}, got {value}")
