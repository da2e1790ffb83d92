"""Makes the picture to encode from a scene: scales it, and draws the objects if wanted."""

from __future__ import annotations

from typing import cast

import cv2

from streamer.sinks.video.overlay import draw_overlay
from streamer.sinks.video.view import Scene, View
from streamer.types import ImageArray

SMALLEST_SIDE = 16


def canvas_size(width: int, height: int, maximum_width: int) -> tuple[int, int]:
    """Width and height of the picture that is sent: at most ``maximum_width`` wide, both even.

    Video with half the colour resolution (4:2:0) needs even sides. A picture that is not too
    wide loses its last odd row or column instead of being scaled by one pixel.
    """
    if width > maximum_width:
        height = round(height * maximum_width / width)
        width = maximum_width
    return max(SMALLEST_SIDE, width & ~1), max(SMALLEST_SIDE, height & ~1)


def render(scene: Scene, view: View, maximum_width: int) -> ImageArray:
    """The picture of a scene, RGB. The clean one may be the camera's own: do not write to it."""
    image = scene.result.frame.picture.pixels.rgb()
    height, width = image.shape[:2]
    size = canvas_size(width, height, maximum_width)
    if 0 <= width - size[0] <= 1 and 0 <= height - size[1] <= 1:
        canvas = image[: size[1], : size[0]]
        if view is View.OVERLAY:
            canvas = canvas.copy()
    else:
        canvas = cast(ImageArray, cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    if view is View.OVERLAY:
        draw_overlay(canvas, scene)
    return canvas
