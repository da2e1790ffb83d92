"""Which batch sizes a call can take now: those that are warm, and that fit the device's memory.

Before a warm-up every size may be used, and the first call of each is slow. After it only warm ones
are: what is rare is warmed later, and until then larger batches are split. So no shape is new while
streams are tracked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tracker.memory.shapes import MemoryShape, MemoryShapes
from tracker.options import EngineOptions

# What is done to images, to objects, and to objects whose memories have a shape.
IMAGES, OBJECTS = "images", "objects"
Kind = str | MemoryShape

# Batches that are warm at the start: beyond them a device is busy either way, and parts cost only
# their launches. Of shapes with a mask, which an object has for its first few frames, fewer.
_FIRST_IMAGES, _FIRST_OBJECTS, _FIRST_MASKED = 8, 16, 4


class ReadySizes:
    """Sizes by kind of call and image size, smallest first. Bound: one entry for each of them."""

    def __init__(self, options: EngineOptions, shapes: MemoryShapes) -> None:
        self._sizes = {IMAGES: options.image_sizes, OBJECTS: options.row_sizes}
        self._shapes = shapes
        self._warm: dict[tuple[int, Kind], tuple[int, ...]] = {}
        self._warming = False

    def of(self, kind: Kind, image_size: int) -> tuple[int, ...]:
        """The sizes that batches of this kind are split into."""
        warm = None if self._warming else self._warm.get((image_size, kind))
        return warm or self.allowed(kind)

    def allowed(self, kind: Kind) -> tuple[int, ...]:
        """Every size that fits the memory, warm or not."""
        return self._sizes[IMAGES if kind == IMAGES else OBJECTS]

    def shapes(self, image_size: int) -> MemoryShapes:
        """The memory shapes to group objects by; steady ones that are not warm are padded."""
        warm = tuple(each for each in self._shapes.steady if (image_size, each) in self._warm)
        return replace(self._shapes, steady=warm) if warm and not self._warming else self._shapes

    def first(self, kind: Kind) -> int:
        """The largest size of this kind to warm at the start; 0: none."""
        if isinstance(kind, str):
            return _FIRST_IMAGES if kind == IMAGES else _FIRST_OBJECTS
        if kind.masked:
            return _FIRST_MASKED
        return _FIRST_OBJECTS if kind == self._shapes.steady[0] else 0

    def add(self, kind: Kind, image_size: int, size: int) -> None:
        """This size is warm."""
        warm = self._warm.get((image_size, kind), ())
        self._warm[image_size, kind] = tuple(sorted({*warm, size}))

    def limit(self, kind: Kind, most: int) -> None:
        """Allow batches of up to ``most`` only, of images or of objects."""
        kind = IMAGES if kind == IMAGES else OBJECTS
        self._sizes[kind] = tuple(size for size in self._sizes[kind] if size <= most)
        for key, sizes in list(self._warm.items()):
            if (key[1] == IMAGES) == (kind == IMAGES):
                self._warm[key] = tuple(size for size in sizes if size <= most)

    def reduce(self) -> int | None:
        """Allow a quarter of the largest batches, all cold -> the most; None: single ones."""
        largest = max(sizes[-1] for sizes in self._sizes.values())
        if largest == 1:
            return None
        for kind in self._sizes:
            self.limit(kind, max(largest // 4, 1))
        self._warm.clear()
        return max(largest // 4, 1)

    @contextmanager
    def warming(self) -> Iterator[None]:
        """Use every allowed size for now."""
        before, self._warming = self._warming, True
        try:
            yield
        finally:
            self._warming = before
