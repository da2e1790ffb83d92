"""Colours of objects: Okabe and Ito's palette, which colour-blind people can distinguish."""

from __future__ import annotations

Colour = tuple[int, int, int]
"""Red, green, blue, 0..255."""

# https://jfly.uni-koeln.de/color/ without black, which vanishes on a dark picture. Seven colours
# repeat after seven objects: the number beside each object is its other sign.
PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),  # orange
    (86, 180, 233),  # sky blue
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (0, 114, 178),  # blue
    (213, 94, 0),  # vermilion
    (204, 121, 167),  # reddish purple
)
_GREY: Colour = (128, 128, 128)


def colour_of(object_id: int, own: str | None) -> Colour:
    """The object's own colour (``#rrggbb``) if it was given one, otherwise one of the palette."""
    if own is not None:
        value = int(own.removeprefix("#"), 16)
        return (value >> 16 & 255, value >> 8 & 255, value & 255)
    return PALETTE[(object_id - 1) % len(PALETTE)]


def dimmed(colour: Colour) -> Colour:
    """Half way to grey: for an object that is hidden."""
    red, green, blue = ((side + grey) // 2 for side, grey in zip(colour, _GREY, strict=True))
    return (red, green, blue)


def text_colour(background: Colour) -> Colour:
    """Black or white, whichever reads better on ``background`` (WCAG 2, relative luminance)."""
    red, green, blue = (_linear(side) for side in background)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)


def _linear(side: int) -> float:
    value = side / 255
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)
