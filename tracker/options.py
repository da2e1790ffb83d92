"""How a tracker behaves; nothing here changes its parameters, and nothing imports torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Switch = Literal["auto", "on", "off"]
Attention = Literal["auto", "sdpa", "triton"]
ComputeDtype = Literal["auto", "float32", "bfloat16", "float16"]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How the network is run. All but ``image_size`` change results by no more than rounding.

    ``fixed_shapes``: objects and images are padded to a few counts, so that every shape is known
    at the start ("auto": on a CUDA device; on a processor it only costs work). ``graphs``: with
    fixed shapes, a CUDA device replays captured graphs. ``row_sizes`` and ``image_sizes`` are the
    counts; larger batches are split. ``most_graphs`` bounds the graphs that are kept, for each
    image size; the least recently used one goes. ``attention``: the kernels of memory attention on
    a CUDA device. "auto" measures them when the tracker is warmed up, "triton" only our own, and
    "sdpa" leaves all of it to PyTorch. ``kernel_cache``: the
    folder in which compiled kernels are kept between starts, up to ``kernel_cache_bytes``; None
    leaves them where PyTorch and Triton put them. ``path_cache``: the folder in which the paths
    that were measured on a processor are kept between starts, and what was exported to OpenVINO;
    None: they are measured each time, and OpenVINO is not used. ``openvino``: "auto" uses it for
    the parts of a small network that it computes faster, if it is installed.

    ``image_size``: a multiple of 32, other than the network was trained with; None as trained.
    ``smaller_image_sizes``: further sizes for ``Tracker.set_image_size``, descending; "auto":
    three quarters and half of ``image_size``. The memory bank is allocated for all of them.
    """

    fixed_shapes: Switch = "auto"
    graphs: Literal["auto", "off"] = "auto"
    row_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    image_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    most_graphs: int = 128
    attention: Attention = "auto"
    kernel_cache: str | None = None
    kernel_cache_bytes: int = 1 << 30
    path_cache: str | None = None
    openvino: Literal["auto", "off"] = "auto"
    image_size: int | None = None
    smaller_image_sizes: tuple[int, ...] | Literal["auto"] = ()

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("fixed_shapes", self.fixed_shapes, ("auto", "on", "off")),
            ("graphs", self.graphs, ("auto", "off")),
            ("openvino", self.openvino, ("auto", "off")),
            ("attention", self.attention, ("auto", "sdpa", "triton")),
        ):
            if value not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        for name, sizes in (("row_sizes", self.row_sizes), ("image_sizes", self.image_sizes)):
            if not sizes or min(sizes) != 1 or sorted(set(sizes)) != list(sizes):
                raise ValueError(f"{name} must begin with 1 and increase, got {sizes}")
        if self.kernel_cache_bytes < 0:
            raise ValueError(
                f"kernel_cache_bytes must not be negative, got {self.kernel_cache_bytes}"
            )
        if self.most_graphs < 1:
            raise ValueError(f"most_graphs must be at least 1, got {self.most_graphs}")
        if self.image_size is not None and (self.image_size < 32 or self.image_size % 32):
            raise ValueError(f"image_size must be a multiple of 32, got {self.image_size}")
        if self.smaller_image_sizes != "auto":
            smaller = list(self.smaller_image_sizes)
            if any(size < 32 or size % 32 for size in smaller):
                raise ValueError(f"smaller_image_sizes must be multiples of 32, got {smaller}")
            if smaller != sorted(set(smaller), reverse=True):
                raise ValueError(f"smaller_image_sizes must descend, got {smaller}")

    def fixes_shapes(self, device_type: str) -> bool:
        """Whether rows and images are padded on a device."""
        return self.fixed_shapes == "on" or (self.fixed_shapes == "auto" and device_type == "cuda")


@dataclass(frozen=True, slots=True)
class RobustOptions:
    """The rules of ``memory_policy="robust"``; none needs training.

    While an object is visible, its memories are those of the paper's policy except for masks of a
    low predicted IoU; the rules act on absences, cuts and gaps. ``docs/evaluation.md`` shows what
    each of them gains.

    What is remembered:
    ``skip_absent``: a frame on which the object is not visible overwrites no memory and leaves no
    pointer. ``write_iou``: below this predicted IoU nothing is remembered (0: no such gate).
    ``return_iou``: the same for an object that was hidden, until a frame of it is remembered again.
    ``anchors``: this many frames that distinguished the object from a look-alike are kept besides
    (DAM4SAM, arXiv 2411.17576; 0..3). Meant for Meta's checkpoints: an anchor needs a predicted
    IoU above 0.8, which nano seldom reaches.

    What is accepted as the object:
    ``camera_motion``: the predicted box moves with the camera. ``reject_floods``: a mask that
    suddenly fills the picture is refused.

    What the stream does:
    ``scene_cuts``: a cut resets the motion, and unsure masks after it are not remembered.
    ``track_before_prompt``: a click on a live object corrects what was tracked on that frame,
    instead of starting the object anew there.
    ``closer_look``: what a click or a box starts is looked at once more, the part around it alone
    and mirrored, by a network that sees fewer than 512 pixels of a side (``step.closer_look``). The
    history keeps the images of its frames for it, as far as they fit.
    """

    skip_absent: bool = True
    write_iou: float = 0.2
    return_iou: float = 0.3
    anchors: int = 0
    camera_motion: bool = True
    reject_floods: bool = True
    scene_cuts: bool = True
    track_before_prompt: bool = True
    closer_look: bool = True

    def __post_init__(self) -> None:
        for name, most in (("write_iou", 1), ("return_iou", 1), ("anchors", 3)):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise ValueError(f"robust.{name} must be 0..{most}, got {value}")


@dataclass(frozen=True, slots=True)
class TrackerOptions:
    """Options of a tracker; with ``memory_policy="sam2"`` the defaults follow Meta's releases.

    ``max_objects``: slots over all sessions; fixes the bank's memory. ``memory_policy``: "sam2" is
    the paper's rule for memories, "robust" ours, with its rules in ``robust``.
    ``fill_hole_area``: holes of up to this many cells of the low-resolution mask are filled (0:
    none; Meta's demo uses 8). ``non_overlap``: each pixel goes to the strongest object of its
    stream. ``corrections_condition``: a corrected frame is kept for ever, like a prompted one.
    ``return_logits``: tracks carry their logits. ``compute_dtype``: "auto" is bfloat16 on a
    CUDA device that computes in it, and float32 elsewhere; on a processor it applies to some
    products of the trunk, see ``tracker.model.precision``. ``engine``: how the network is run.
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
