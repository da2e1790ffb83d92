"""A folder of pictures as a clip, in the natural order of their names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from streamer.errors import ConfigError
from streamer.recorded.clips import PICTURES, K, files_of, result_name
from streamer.types import ImageArray

# No rate is known; the time of a frame is only used where a format asks for one.
PICTURES_PER_S = 25
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
# EXIF: the orientation of the picture; from 5 on its rows and columns are exchanged.
_ORIENTATION, _FIRST_TRANSPOSED = 0x0112, 5


class PictureClip:
    """See ``clips.Clip``. A picture that cannot be read is a damaged frame."""

    def __init__(self, path: Path) -> None:
        """Raises ``ConfigError`` without pictures, and for pictures of different sizes."""
        self.path = path
        self._files = files_of(path, PICTURES)
        if not self._files:
            raise ConfigError(f"{path} holds no picture ({', '.join(PICTURES)})")
        self.frames = len(self._files)
        sizes: dict[tuple[int, int], Path] = {}
        for file in self._files:
            size = _size(file)
            if size is not None:
                sizes.setdefault(size, file)
        if not sizes:
            raise ConfigError(f"{path}: none of its {self.frames} pictures can be read")
        if len(sizes) > 1:
            listed = ", ".join(f"{file.name} is {w}×{h}" for (w, h), file in sizes.items())
            raise ConfigError(f"{path}: the pictures of a clip have one size, but {listed}")
        self.width, self.height = next(iter(sizes))

    @property
    def name(self) -> str:
        """The folder's name."""
        return result_name(self.path)

    def frame_name(self, index: int) -> str:
        """The name of the picture's file."""
        return self._files[index].name

    def time_s(self, index: int) -> float:
        """As if there were ``PICTURES_PER_S``."""
        return index / PICTURES_PER_S

    def read(
        self, start: int, *, backward: bool, keep: Callable[[ImageArray], K]
    ) -> Iterator[tuple[int, K | None]]:
        """See ``Clip.read``; nothing is kept ahead."""
        for index in range(start, -1, -1) if backward else range(start, self.frames):
            image = self._picture(self._files[index])
            yield index, None if image is None else keep(image)

    def _picture(self, file: Path) -> ImageArray | None:
        try:
            with Image.open(file) as picture:
                if picture.mode.startswith("I;16"):  # Pillow would cut it off at 255
                    deep = np.asarray(picture)
                    return np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, axis=2)
                image = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
        except _UNREADABLE:
            return None
        return np.ascontiguousarray(image)


def _size(file: Path) -> tuple[int, int] | None:
    """Width and height as shown, from the header; None if that cannot be read."""
    try:
        with Image.open(file) as picture:
            width, height = picture.size
            turned = picture.getexif().get(_ORIENTATION, 1) >= _FIRST_TRANSPOSED
    except _UNREADABLE:
        return None
    return (height, width) if turned else (width, height)
