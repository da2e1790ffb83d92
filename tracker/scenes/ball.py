"""Painting the ball."""

from __future__ import annotations

import math

import numpy as np

from tracker.scenes.layer import Colour, Layer, rgb

# Directions of an icosahedron's corners: the black patches of a classic football.
_GOLDEN = (1.0 + math.sqrt(5.0)) / 2.0
_PATCHES = np.array(
    [
        corner
        for a in (-1.0, 1.0)
        for b in (-_GOLDEN, _GOLDEN)
        for corner in ((0.0, a, b), (a, b, 0.0), (b, 0.0, a))
    ],
    dtype=np.float32,
) / np.float32(math.hypot(1.0, _GOLDEN))


def paint_ball(x: float, y: float, diameter: float, roll: float, colour: Colour) -> Layer:
    """Paint a ball centred at (x, y), ``diameter`` pixels, turned by ``roll`` radians."""
    radius = diameter / 2.0
    reach = int(radius) + 3
    layer = Layer(int(x) - reach, int(y) - reach, 2 * reach, 2 * reach)
    columns = (np.arange(2 * reach, dtype=np.float32) + np.float32(layer.left + 0.5 - x)) / radius
    rows = (np.arange(2 * reach, dtype=np.float32) + np.float32(layer.top + 0.5 - y)) / radius
    distance = np.sqrt(columns[None, :] ** 2 + rows[:, None] ** 2)
    depth = np.sqrt(np.clip(1.0 - distance**2, 0.0, 1.0))
    cosine, sine = math.cos(roll), math.sin(roll)
    normal = np.stack(
        [
            columns[None, :] * cosine + rows[:, None] * sine,
            rows[:, None] * cosine - columns[None, :] * sine,
            depth,
        ],
        axis=-1,
    )
    patch = (normal @ _PATCHES.T).max(axis=-1)
    ink = np.clip((patch - 0.86) * 12.0, 0.0, 1.0)[:, :, None]
    light = (0.72 + 0.28 * depth - 0.12 * columns[None, :] - 0.12 * rows[:, None])[:, :, None]
    painted = (rgb(colour) * (1.0 - ink) + rgb((24, 24, 28)) * ink) * light
    layer.alpha[...] = np.clip((1.0 - distance) * radius + 0.5, 0.0, 1.0)
    layer.rgb[...] = painted * layer.alpha[:, :, None]
    return layer
