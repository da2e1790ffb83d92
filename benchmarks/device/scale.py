"""How large everything is: on a device as a user has it, in a rehearsal as small as it gets."""

from __future__ import annotations

from dataclasses import dataclass

from tests.tracker.little import LITTLE
from tracker import PRESETS, ModelConfig


@dataclass(frozen=True, slots=True)
class Scale:
    """``objects`` are in all streams together. ``cell_s`` is spent on each way to time a cell,
    with at most ``rounds`` steps. ``tokens``: queries of attention; it has seven times the keys.
    """

    device: str
    dtype: str
    image_size: int
    objects: tuple[int, ...]
    streams: tuple[int, ...]
    cell_s: float
    rounds: int
    tokens: int
    product: int
    height: int = 720
    width: int = 1280
    rehearsal: bool = False

    def config(self, size: str, image_size: int | None = None) -> ModelConfig:
        """SAM 2.1 in a size, at the usual image size."""
        side = image_size or self.image_size
        if self.rehearsal:
            return LITTLE.replaced(image_size=side)
        return PRESETS[f"sam2.1_hiera_{size}"].replaced(image_size=side)

    def cells(self) -> list[tuple[int, int]]:
        """Objects and streams of every cell, those of the goals first."""
        every = [(n, s) for n in self.objects for s in self.streams if s <= n]
        return sorted(every, key=lambda cell: (cell[1] not in (1, cell[0]), cell[0] > 16))


DEVICE = Scale("cuda", "bfloat16", 1024, (1, 4, 16, 64), (1, 4, 16), 0.8, 60, 4096, 8192)
REHEARSAL = Scale("cpu", "float32", 64, (1, 2), (1, 2), 0.01, 1, 64, 256, 48, 64, rehearsal=True)
