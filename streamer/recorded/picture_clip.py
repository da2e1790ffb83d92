"""A folder of pictures as a clip, in the natural order of their names."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator
from pathlib import Path

from PIL import Image

from streamer.errors import ConfigError, PictureError
from streamer.recorded.clip import K, result_name
from streamer.sources.picture_files import picture_files, read_picture
from streamer.types import ImageArray

# No rate is known; the time of a frame is only used where a format asks for one.
PICTURES_PER_S = 25
# EXIF: the orientation of the picture; from 5 on its rows and columns are exchanged.
_ORIENTATION, _FIRST_TRANSPOSED = 0x0112, 5


class PictureClip:
    """See ``clips.Clip``. A picture that cannot be read is a damaged frame."""

    def __init__(self, path: Path) -> None:
        """Raises ``PictureError`` without pictures, ``ConfigError`` if their sizes differ."""
        self.path = path
        self._files = picture_files(path)
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
    ) -> Generator[tuple[int, K | None]]:
        """See ``Clip.read``; nothing is kept ahead."""
        for index in range(start, -1, -1) if backward else range(start, self.frames):
            image = self._picture(self._files[index])
            yield index, None if image is None else keep(image)

    def _picture(self, file: Path) -> ImageArray | None:
        try:
            image = read_picture(file).rgb
        except PictureError:
            return None
        # A file that is replaced meanwhile.
        return image if image.shape[:2] == (self.height, self.width) else None


def _size(file: Path) -> tuple[int, int] | None:
    """Width and height as shown, from the header; None if that cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            opened = Image.open(file)
        with opened as picture:
            width, height = picture.size
            turned = picture.getexif().get(_ORIENTATION, 1) >= _FIRST_TRANSPOSED
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    return (height, width) if turned else (width, height)
