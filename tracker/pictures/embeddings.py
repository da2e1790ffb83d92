"""Encoded pictures: all that predictions need of them, and nothing of their pixels.

Dimensions: B pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tracker.memory.object_memory import ModelIdentity
from tracker.model import ImageFeatures


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """The features of B pictures, on the device, and their sizes (height, width) in pixels.

    ``features.stride16_BCHW`` includes the learned constant that replaces the memory; the three
    maps are what the reference calls image embedding and high-resolution features. ``model``: the
    network that made them; another one cannot use them.
    """

    model: ModelIdentity
    features: ImageFeatures
    sizes: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> Embeddings:
        """One picture, as a view."""
        row = range(len(self))[index]
        maps = ImageFeatures(*(level[row : row + 1] for level in self.features))
        return Embeddings(self.model, maps, (self.sizes[row],))

    @staticmethod
    def joined(parts: Sequence[Embeddings]) -> Embeddings:
        """Pictures of one model, in order, as one batch."""
        maps = zip(*(part.features for part in parts), strict=True)
        return Embeddings(
            parts[0].model,
            ImageFeatures(*map(torch.cat, maps)),
            tuple(size for part in parts for size in part.sizes),
        )
