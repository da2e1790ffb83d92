"""One network for several image sizes: shared weights, and position tables for each size."""

from __future__ import annotations

import copy

from torch import Tensor

from tracker.model import Sam2
from tracker.options import EngineOptions

_SMALLEST = 64


def sizes_of(options: EngineOptions, image_size: int, step: int = 32) -> tuple[int, ...]:
    """The sizes a tracker can be set to, largest first; it begins with the first.

    ``step``: what they are multiples of.
    Raises ValueError for a "smaller" size that is not smaller.
    """
    if options.smaller_image_sizes == "auto":
        return (image_size, *_parts_of(image_size, step))
    for size in options.smaller_image_sizes:
        if size >= image_size:
            raise ValueError(
                f"smaller_image_sizes must be below the image size {image_size}, got {size}"
            )
    return (image_size, *options.smaller_image_sizes)


def next_smaller(in_use: int, sizes: tuple[int, ...], step: int = 32) -> int | None:
    """The next of ``sizes`` below the one in use, else three quarters; None if too small."""
    known = [size for size in sizes if size < in_use] or _parts_of(in_use, step)
    return max(known, default=None)


def _parts_of(image_size: int, step: int) -> list[int]:
    """Three quarters and half of a size, as far as networks can work at them."""
    parts = dict.fromkeys(int(part * image_size) // step * step for part in (0.75, 0.5))
    return [size for size in parts if _SMALLEST <= size < image_size]


def at_size(model: Sam2, image_size: int) -> Sam2:
    """The same network for another image size, see ``Sam2.resize``.

    It shares every existing tensor; what depends on the size is computed anew.
    """
    tensors = [*model.parameters(), *model.buffers()]
    for module in model.modules():
        tensors += [each for each in vars(module).values() if isinstance(each, Tensor)]
    other = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})
    other.resize(image_size)
    other.fix_constants()
    return other
