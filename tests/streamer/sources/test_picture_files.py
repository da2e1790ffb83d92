"""Picture files as cameras, phones, scanners and programs write them: what each of them shows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from streamer.errors import PictureError
from streamer.sources.picture_files import MOST_PIXELS, picture_files, read_picture

HEIGHT, WIDTH = 30, 50
GREY = np.tile(np.linspace(0, 255, WIDTH).round().astype(np.uint8), (HEIGHT, 1))
RGB = np.dstack((GREY, GREY[:, ::-1], np.arange(HEIGHT)[:, None].repeat(WIDTH, 1))).astype(np.uint8)
_ORIENTATION = 0x0112


def grey(image: Image.Image) -> Image.Image:
    return image.convert("L")


def same(image: Image.Image) -> Image.Image:
    return image


# How it is saved, and what is seen of it (of the RGB picture above).
KINDS: dict[str, tuple[Callable[[], Image.Image], str, Callable[[Image.Image], Image.Image]]] = {
    "RGB": (lambda: Image.fromarray(RGB), "png", same),
    "grey": (lambda: Image.fromarray(GREY), "png", grey),
    "grey with alpha": (lambda: Image.fromarray(GREY).convert("LA"), "png", grey),
    "two levels": (lambda: Image.fromarray(GREY).convert("1"), "png", grey),
    "16 bits": (lambda: Image.fromarray(GREY.astype(np.uint16) * 257), "png", grey),
    "16 bits, other order": (lambda: Image.fromarray((GREY * 257.0).astype(">u2")), "tif", grey),
    "32 bits": (lambda: Image.fromarray(GREY.astype(np.int32) * 1000 - 5), "tif", grey),
    "floats": (lambda: Image.fromarray(GREY / np.float32(255)), "tif", grey),
    "opaque alpha": (lambda: Image.fromarray(RGB).convert("RGBA"), "webp", same),
    "CMYK": (lambda: Image.fromarray(RGB).convert("CMYK"), "jpg", same),
    "YCbCr": (lambda: Image.fromarray(RGB).convert("YCbCr"), "jpg", same),
    "palette": (lambda: Image.fromarray(RGB).quantize(256), "png", same),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_file_shows_its_picture(kind: str, tmp_path: Path) -> None:
    make, suffix, seen = KINDS[kind]
    path = tmp_path / f"picture.{suffix}"
    make().save(path, **({"lossless": True} if suffix == "webp" else {}))
    picture = read_picture(path)
    assert picture.rgb.shape == (HEIGHT, WIDTH, 3)
    assert picture.rgb.dtype == np.uint8
    expected = Image.fromarray(RGB if seen is same else GREY)
    if kind == "two levels":
        expected = expected.convert("1")
    difference = np.abs(picture.rgb.astype(int) - np.asarray(expected.convert("RGB"), int))
    assert difference.mean() < (6 if suffix == "jpg" or kind == "palette" else 1)
    assert picture.alpha is None


def test_transparent_pixels_are_shown_on_white_and_kept(tmp_path: Path) -> None:
    image = Image.fromarray(RGB)
    image.putalpha(Image.fromarray(np.where(GREY > 100, 255, 0).astype(np.uint8)))
    image.save(tmp_path / "cut.png")
    picture = read_picture(tmp_path / "cut.png")
    assert picture.alpha is not None
    assert (picture.rgb[GREY <= 100] == 255).all()
    np.testing.assert_array_equal(picture.rgb[GREY > 100], RGB[GREY > 100])
    np.testing.assert_array_equal(picture.alpha > 0, GREY > 100)


# What the sensor wrote, by EXIF orientation.
AS_STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: np.rot90(upright, 1),
    7: lambda upright: upright[::-1, ::-1].swapaxes(0, 1),
    8: lambda upright: np.rot90(upright, 3),
}


@pytest.mark.parametrize("orientation", AS_STORED)
def test_photographs_are_upright(orientation: int, tmp_path: Path) -> None:
    stored = AS_STORED[orientation](RGB)
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "photo.png", exif=exif)
    np.testing.assert_array_equal(read_picture(tmp_path / "photo.png").rgb, RGB)


def test_a_file_that_is_no_picture_is_named_with_the_reason(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jpg"
    Image.fromarray(np.tile(RGB, (20, 20, 1))).save(whole)
    broken = {
        "cut.jpg": whole.read_bytes()[:2000],
        "text.png": b"no picture at all",
        "empty.png": b"",
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PictureError, match=f"{name} is not a readable picture"):
            read_picture(tmp_path / name)
    with pytest.raises(PictureError, match="No such file"):
        read_picture(tmp_path / "missing.png")
    with pytest.raises(PictureError, match="is not a file"):
        read_picture(tmp_path)
    frames = [Image.fromarray(RGB), Image.fromarray(RGB[::-1])]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(PictureError, match="holds 2 pictures"):
        read_picture(tmp_path / "moving.gif")


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    side = int(MOST_PIXELS**0.5) + 1
    (tmp_path / "huge.pgm").write_bytes(b"P5 %d %d 255\n" % (side, side))
    with pytest.raises(PictureError, match="too large: 11586×11586 pixels, at most 134 million"):
        read_picture(tmp_path / "huge.pgm")


def test_the_pictures_of_a_folder_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for name in ("10.png", "2.png", "a2.JPG", "a10.jpg", ".hidden.png", "notes.txt", "1/x.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    names = [path.name for path in picture_files(tmp_path)]
    assert names == ["2.png", "10.png", "a2.JPG", "a10.jpg"]
    with pytest.raises(PictureError, match="holds no picture"):
        picture_files(tmp_path / "empty")
    with pytest.raises(PictureError, match="not a readable folder: No such file"):
        picture_files(tmp_path / "missing")
