"""All eight orientations, the nearest one to any other matrix, and where matrices come from."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from PIL import Image

from streamer.config.streams import StreamConfig
from streamer.sources import make_source
from streamer.sources.orientation import UPRIGHT, Orientation, nearest_orientation
from tests.streamer.sources.oriented_clips import (
    FRAMES,
    ORIENTATIONS,
    SHOWN,
    Linear,
    corner_picture,
    corners,
    display_matrix,
    write_oriented_clip,
    write_oriented_stream,
)
from tests.streamer.sources.recorder import run_to_end


def shown(path: Path) -> list[str]:
    source = make_source("clip", StreamConfig(url=str(path), decoder="software", paced=False))
    output, error = run_to_end(source)
    assert error is None
    images = [frame.pixels.rgb() for frame in output.frames]
    assert all(image.flags.c_contiguous for image in images)
    return [corners(image) for image in images]


def turned(degrees: float, linear: Linear = (1, 0, 0, 1)) -> Linear:
    """``linear``, then a turn clockwise."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    a, b, c, d = linear
    return (a * cos - b * sin, a * sin + b * cos, c * cos - d * sin, c * sin + d * cos)


@pytest.mark.parametrize("name", ORIENTATIONS)
@pytest.mark.parametrize("degrees", [-40, 0, 7, 44])
@pytest.mark.parametrize("scales", [(1, 1), (0.5, 0.5), (3, 1), (0.01, 2)])
def test_nearest_orientation(name: str, degrees: float, scales: tuple[float, float]) -> None:
    a, b, c, d = turned(degrees, ORIENTATIONS[name])
    scaled = (a * scales[0], b * scales[0], c * scales[1], d * scales[1])
    orientation = nearest_orientation(display_matrix(scaled))
    assert corners(orientation.applied(corner_picture())) == SHOWN[name]


def test_matrices_that_say_nothing_are_upright() -> None:
    for matrix in (b"", b"\0" * 36, display_matrix(turned(45)), display_matrix((1, 0, 0, 1))[:-1]):
        assert nearest_orientation(matrix) == UPRIGHT
    assert nearest_orientation(display_matrix(turned(46))) == Orientation(True, True, False)


@pytest.mark.parametrize("name", ORIENTATIONS)
def test_files_are_shown_as_by_players(name: str, tmp_path: Path) -> None:
    path = write_oriented_clip(tmp_path / "phone.mp4", ORIENTATIONS[name])
    assert shown(path) == [SHOWN[name]] * FRAMES


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("rotate=90", "quarter turn anticlockwise"),
        ("flip=horizontal", "mirrored"),
        ("flip=vertical", "upside down and mirrored"),
        # ITU-T H.264, D.2.27: flips come first.
        ("rotate=90:flip=horizontal", "transposed"),
    ],
)
def test_cameras_that_state_it_in_the_stream(message: str, name: str, tmp_path: Path) -> None:
    path = write_oriented_stream(tmp_path / "camera.h264", message)
    assert shown(path) == [SHOWN[name]] * FRAMES


def test_pictures_with_side_data_that_pyav_does_not_know_are_turned(tmp_path: Path) -> None:
    """EXIF data of a JPEG: PyAV 18.1 then lists no side data at all."""
    path = tmp_path / "camera.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    Image.fromarray(corner_picture()).save(path, exif=exif)
    assert shown(path) == [SHOWN["quarter turn clockwise"]]
