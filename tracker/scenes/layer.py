"""A small floating-point picture with transparency, painted with limbs and discs.

Every stroke is antialiased by its distance to the shape's edge and touches its own bounding
box only, so a stroke takes a few microseconds whatever the size of the frame.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tracker.scenes.frame import FloatArray, ImageArray, MaskArray

Colour = tuple[float, float, float]
Texture = Callable[[FloatArray, FloatArray], FloatArray]
"""(across, along) -> RGB: ``across`` -1..1 from edge to edge, ``along`` 0..1 from end to end."""


def rgb(colour: Colour) -> FloatArray:
    """A colour, 0..255, as an array that broadcasts over pixels."""
    return np.array(colour, dtype=np.float32)


_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


class Layer:
    """An RGBA crop (height, width) whose upper left pixel lies at (left, top) of the frame."""

    __slots__ = ("alpha", "left", "rgb", "top")

    def __init__(self, left: int, top: int, width: int, height: int) -> None:
        self.left, self.top = left, top
        self.rgb: FloatArray = np.zeros((height, width, 3), dtype=np.float32)
        self.alpha: FloatArray = np.zeros((height, width), dtype=np.float32)

    def limb(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        start_radius: float,
        end_radius: float,
        paint: Colour | Texture,
    ) -> None:
        """Paint a capsule from ``start`` to ``end`` (frame pixels) whose radius may taper.

        It is lit from the left: the far side of a limb is darker.
        """
        ax, ay = start[0] - self.left, start[1] - self.top
        bx, by = end[0] - self.left, end[1] - self.top
        reach = max(start_radius, end_radius) + 1.0
        height, width = self.alpha.shape
        x0, x1 = max(0, int(min(ax, bx) - reach)), min(width, int(max(ax, bx) + reach) + 1)
        y0, y1 = max(0, int(min(ay, by) - reach)), min(height, int(max(ay, by) + reach) + 1)
        if x0 >= x1 or y0 >= y1:
            return
        px = np.arange(x0, x1, dtype=np.float32) + np.float32(0.5 - ax)
        py = (np.arange(y0, y1, dtype=np.float32) + np.float32(0.5 - ay))[:, None]
        dx, dy = bx - ax, by - ay
        length = float(np.hypot(dx, dy)) + 1e-6
        ux, uy = np.float32(dx / length), np.float32(dy / length)
        along = (px * ux + py * uy) * np.float32(1.0 / length)
        np.minimum(np.maximum(along, _ZERO, out=along), _ONE, out=along)
        across = px * uy - py * ux  # signed distance from the axis
        rest_x = px - along * np.float32(dx)
        rest_y = py - along * np.float32(dy)
        radius = np.float32(start_radius) + along * np.float32(end_radius - start_radius)
        coverage = radius - np.sqrt(rest_x * rest_x + rest_y * rest_y) + np.float32(0.5)
        np.minimum(np.maximum(coverage, _ZERO, out=coverage), _ONE, out=coverage)
        light = np.float32(0.93) - np.float32(0.16) * rest_x / radius
        if callable(paint):
            colour = paint(across / radius, along) * light[:, :, None]
        else:
            colour = light[:, :, None] * rgb(paint)
        self._over(y0, y1, x0, x1, coverage, colour)

    def _over(
        self, y0: int, y1: int, x0: int, x1: int, coverage: FloatArray, colour: FloatArray
    ) -> None:
        """Blend a stroke over the layer (colours are premultiplied)."""
        keep = _ONE - coverage
        rgb = self.rgb[y0:y1, x0:x1]
        rgb *= keep[:, :, None]
        rgb += colour * coverage[:, :, None]
        alpha = self.alpha[y0:y1, x0:x1]
        alpha *= keep
        alpha += coverage

    def paste(self, image: ImageArray) -> tuple[slice, slice, MaskArray] | None:
        """Blend into ``image`` (H, W, 3); returns where, and which pixels are mostly covered.

        None if the layer is outside the picture.
        """
        clipped = clip_box(self.left, self.top, self.alpha.shape, image.shape)
        if clipped is None:
            return None
        rows, columns, own_rows, own_columns = clipped
        alpha = self.alpha[own_rows, own_columns]
        area = image[rows, columns]
        blended = area * (_ONE - alpha)[:, :, None] + self.rgb[own_rows, own_columns]
        area[...] = np.minimum(blended, np.float32(255.0))
        return rows, columns, alpha > 0.5

    def silhouette_area(self) -> int:
        """Mostly covered pixels, inside the picture or not."""
        return int(np.count_nonzero(self.alpha > 0.5))


def clip_box(
    left: int, top: int, size: tuple[int, ...], frame_size: tuple[int, ...]
) -> tuple[slice, slice, slice, slice] | None:
    """Frame rows and columns a (height, width) crop at (left, top) covers, then its own."""
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(left + size[1], frame_size[1]), min(top + size[0], frame_size[0])
    if x0 >= x1 or y0 >= y1:
        return None
    return (
        slice(y0, y1),
        slice(x0, x1),
        slice(y0 - top, y1 - top),
        slice(x0 - left, x1 - left),
    )
