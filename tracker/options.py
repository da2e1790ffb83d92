"""How a tracker behaves; nothing here changes its parameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tracker.engine.options import EngineOptions
from tracker.policy.options import RobustOptions

ComputeDtype = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True)
class TrackerOptions:
    """Options of a tracker; with ``memory_policy="sam2"`` all others follow Meta's releases.

    ``max_objects``: slots over all sessions; fixes the bank's memory. ``memory_policy``: how
    memories are chosen; "sam2" is the paper's, "robust" ours, with its techniques in ``robust``.
    ``fill_hole_area``: holes up to so many cells of the low-resolution mask are filled (0: none;
    Meta's demo uses 8). ``non_overlap``: each pixel goes to the strongest object of its stream.
    ``corrections_condition``: a corrected frame is remembered for ever, like a prompted one.
    ``return_logits``: tracks carry their logits. ``compute_dtype``: "auto" is bfloat16 on CUDA
    and float32 elsewhere; on a processor it is that of some products of the trunk, see
    ``precision``.
    ``engine``: how the network is run.
    """

    max_objects: int = 64
    memory_policy: Literal["robust", "sam2"] = "robust"
    fill_hole_area: int = 0
    non_overlap: bool = False
    corrections_condition: bool = False
    return_logits: bool = False
    compute_dtype: ComputeDtype = "auto"
    engine: EngineOptions = field(default_factory=EngineOptions)
    robust: RobustOptions = field(default_factory=RobustOptions)

    def __post_init__(self) -> None:
        if self.max_objects < 1:
            raise ValueError(f"max_objects must be at least 1, got {self.max_objects}")
        if not 0 <= self.fill_hole_area <= 64:
            raise ValueError(f"fill_hole_area must be 0..64, got {self.fill_hole_area}")
        if self.memory_policy not in ("robust", "sam2"):
            raise ValueError(
                f"memory_policy must be 'robust' or 'sam2', got {self.memory_policy!r}"
            )

    def resolved_dtype(self, device_type: str) -> str:
        """The dtype that matrix products run in on a device."""
        if self.compute_dtype != "auto":
            return self.compute_dtype
        return "bfloat16" if device_type == "cuda" else "float32"
