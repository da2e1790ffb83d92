"""A clip: what a job reads, whether a video file or a folder of pictures."""

from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Protocol, TypeVar

from streamer.types import ImageArray

# Bound of the pictures that are decoded and wait to be read backwards, of one clip.
GROUP_BYTES = 256 << 20


class Kept(Protocol):
    """What a reader keeps of a picture."""

    @property
    def nbytes(self) -> int:
        """Its memory."""


K = TypeVar("K", bound=Kept)


def as_it_is(image: ImageArray) -> ImageArray:
    """Keeps the whole picture."""
    return image


class Clip(Protocol):
    """A clip whose frames are numbered from 0 in the order in which they are shown.

    All pictures are of ``width`` × ``height``, upright. ``frames`` counts what is there, whatever a
    header states.
    """

    path: Path
    frames: int
    width: int
    height: int

    @property
    def name(self) -> str:
        """The name of its results: that of the file or folder, without an ending."""

    def frame_name(self, index: int) -> str:
        """The name of a frame's picture in lists of pictures."""

    def time_s(self, index: int) -> float:
        """When the frame is shown, from the first one."""

    def read(
        self, start: int, *, backward: bool, keep: Callable[[ImageArray], K]
    ) -> Generator[tuple[int, K | None]]:
        """Every frame from ``start`` to the end (``backward``: to the first), each with its number.

        ``keep`` is called with the picture, RGB uint8 (height, width, 3); None in its place for a
        frame that is damaged or missing. Bound: ``GROUP_BYTES`` of what was kept, and one picture.
        """


def result_name(path: Path) -> str:
    """The name of a clip's results."""
    resolved = path.resolve()
    return resolved.name if path.is_dir() else resolved.stem
