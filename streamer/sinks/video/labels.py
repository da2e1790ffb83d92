"""The labels of objects, as small pictures that are drawn once and cached."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from streamer.sinks.video.palette import Colour, text_colour

LONGEST_LABEL = 24
# Covers Latin, Greek, Cyrillic and more; on most Linux machines. Pillow's own knows only ASCII.
_WIDE_FONT = "DejaVuSans.ttf"


def label_text(object_id: int, label: str | None, suffix: str = "") -> str:
    """``7 keeper`` and the suffix; long labels are shortened."""
    if label is None:
        return f"{object_id}{suffix}"
    shown = label if len(label) <= LONGEST_LABEL else f"{label[: LONGEST_LABEL - 1]}…"
    return f"{object_id} {shown}{suffix}"


# Bound: 256 pictures of a few kilobytes; the least recently used one goes.
@lru_cache(maxsize=256)
def label_picture(text: str, background: Colour, size_px: int) -> npt.NDArray[np.uint8]:
    """``text`` in black or white on ``background``, RGB, about 1.4 times ``size_px`` high.

    Without a suitable font accents are left out, and other characters show as boxes.
    """
    font = _font(size_px, text)
    if font is None:
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(each for each in decomposed if not unicodedata.combining(each))
        font = _own_font(size_px)
    left, _, right, _ = font.getbbox(text)
    padding = max(2, size_px // 4)
    ascent, descent = font.getmetrics()
    size = (round(right - left) + 2 * padding, ascent + descent + 2)
    canvas = Image.new("RGB", size, background)
    ImageDraw.Draw(canvas).text((padding - left, 1), text, font=font, fill=text_colour(background))
    return np.asarray(canvas)


def _font(size_px: int, text: str) -> ImageFont.FreeTypeFont | None:
    if text.isascii():
        return _own_font(size_px)
    try:
        return ImageFont.truetype(_WIDE_FONT, size_px)
    except OSError:
        return None


def _own_font(size_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size_px)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow's wheels have FreeType"
    return font
