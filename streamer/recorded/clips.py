"""Clips: what a job reads, whether a video file or a folder of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from streamer.errors import ConfigError
from streamer.types import ImageArray

# What Pillow reads of what cameras and tools write as single frames.
PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
# What counts as video in a folder; a file that is named itself may have any name.
VIDEOS = (
    ".avi", ".flv", ".gif", ".h264", ".h265", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4",
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
    ) -> Iterator[tuple[int, K | None]]:
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
    """The clips that are named: files, folders of pictures, and all video files of other folders.

    Raises ``ConfigError`` for a path that is not there, a folder with neither, and two clips whose
    results would have the same name.
    """
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path} does not exist; check the path")
        if not path.is_dir() or files_of(path, PICTURES):
            found.append(path)
            continue
        videos = files_of(path, VIDEOS)
        if not videos:
            raise ConfigError(
                f"{path} holds neither pictures ({', '.join(PICTURES)}) nor video files; name the "
                "files themselves if they end otherwise"
            )
        found += videos
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


def files_of(folder: Path, endings: Sequence[str]) -> list[Path]:
    """The files of a folder with one of these endings, in natural order; hidden ones are not."""
    return sorted(
        (
            each
            for each in folder.iterdir()
            if each.suffix.lower() in endings and not each.name.startswith(".") and each.is_file()
        ),
        key=lambda path: natural_order(path.name),
    )


def natural_order(name: str) -> tuple[object, ...]:
    """A key that sorts ``frame2`` before ``frame10``: runs of digits count as numbers."""
    parts: list[tuple[int, int, str]] = []
    run = ""
    for character in [*name, ""]:
        if run and (character.isdecimal() and character.isascii()) != run.isdecimal():
            parts.append((0, int(run), "") if run.isdecimal() else (1, 0, run))
            run = ""
        run += character
    return (*parts, name)
