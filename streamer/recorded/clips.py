"""Finds and opens clips: video files, and folders of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from streamer.errors import ConfigError
from streamer.recorded.clip import Clip, result_name
from streamer.recorded.picture_clip import PictureClip
from streamer.recorded.video_clip import VideoClip
from streamer.sources.picture_files import SUFFIXES, files_with

# What counts as video in a folder; a file that is named itself may have any name.
VIDEOS = (
    ".avi", ".flv", ".h264", ".h265", ".m2ts", ".m4v", ".mjpeg", ".mkv", ".mov", ".mp4",
    ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".webm", ".wmv", ".y4m",
)  # fmt: skip


def open_clip(path: str | Path) -> Clip:
    """A video file, or a folder of pictures in the natural order of their names.

    Raises ``SourceError`` for a file without video, ``ConfigError`` for a folder without pictures.
    """
    path = Path(path)
    return PictureClip(path) if path.is_dir() else VideoClip(path)


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
