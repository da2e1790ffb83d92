"""How the network is run. The first group changes no result but its rounding; the second does.

Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Switch = Literal["auto", "on", "off"]
Attention = Literal["auto", "sdpa", "flex", "triton"]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """Options of how a tracker computes.

    ``fixed_shapes``: objects and images are padded to a few counts, so that every shape is known
    at the start ("auto": on a CUDA device; on a processor it only costs work). ``graphs``: with
    fixed shapes, a CUDA device replays captured graphs. ``row_sizes`` and ``image_sizes`` are the
    counts; more are divided into pieces. ``most_graphs`` bounds the graphs that are kept, for each
    image size; the one that was used longest ago goes. ``attention``: which kernel looks at the
    memory; "auto" measures them when the tracker is warmed up on a CUDA device. ``kernel_cache``:
    the folder in which compiled kernels are kept between starts, up to ``kernel_cache_bytes``;
    None leaves them where PyTorch and Triton put them.

    ``image_size``: other than the network was trained with, a multiple of 32; None as trained.
    ``smaller_image_sizes``: what ``Tracker.set_image_size`` may be given besides, descending;
    "auto": three quarters and half of it. The memory bank is made for all of them.
    """

    fixed_shapes: Switch = "auto"
    graphs: Literal["auto", "off"] = "auto"
    row_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    image_sizes: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    most_graphs: int = 128
    attention: Attention = "auto"
    kernel_cache: str | None = None
    kernel_cache_bytes: int = 1 << 30
    image_size: int | None = None
    smaller_image_sizes: tuple[int, ...] | Literal["auto"] = ()

    def __post_init__(self) -> None:
        for name, value, allowed in (
            ("fixed_shapes", self.fixed_shapes, ("auto", "on", "off")),
            ("graphs", self.graphs, ("auto", "off")),
            ("attention", self.attention, ("auto", "sdpa", "flex", "triton")),
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
