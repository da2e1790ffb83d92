"""Clips: what a job reads, whether a video file or a folder of pictures."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from streamer.errors import ConfigError
from streamer.sources.picture_files import SUFFIXES, files_with
from streamer.types import ImageArray

# What counts as video in a folder; a file that is named itself may have any name.
VIDEOS = (
    ".avi", ".flv", ".h264", ".h265", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv", ".y4m",
)  # fmt: skip
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


def open_clip(path: str | Path) -> Clip:
    """A video file, or a folder of pictures in the natural order of their names.

    Raises ``SourceError`` for a file without video, ``ConfigError`` for a folder without pictures.
    """
    path = Path(path)
    if path.is_dir():
        from streamer.recorded.picture_clip import PictureClip

        return PictureClip(path)
    from streamer.recorded.video_clip import VideoClip

    return VideoClip(path)


def find_clips(paths: Sequence[Path]) -> list[Path]:
    """The clips that are named: files, folders of pictures, and all video files of a folder.

    Raises ``ConfigError`` for a path that is not there, a folder with neither, and two clips whose
    results would have the same name.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path} does not exist; check the path")
        inside = files_with(VIDEOS, path) if path.is_dir() else []
        if path.is_dir() and not inside and not files_with(SUFFIXES, path):
            raise ConfigError(
                f"{path} holds neither pictures ({', '.join(sorted(SUFFIXES))}) nor video files "
                f"({', '.join(VIDEOS)}); name the files themselves if they end otherwise"
            )
        found += inside or [path]
    by_name: dict[str, Path] = {}
    for path in found:
        name = result_name(path)
        if name in by_name:
            raise ConfigError(
                f"{by_name[name]} and {path} would both be written to {name}/; give each a name of "
                "its own, or run them one after the other with different --out"
            )
        by_name[name] = path
    return found


def result_name(path: Path) -> str:
    """The name of a clip's results."""
    resolved = path.resolve()
    return resolved.name if path.is_dir() else resolved.stem
