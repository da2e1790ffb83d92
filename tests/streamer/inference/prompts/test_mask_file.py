"""Mask files as drawing programs, cameras and data sets write them: what each of them means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from streamer.errors import ConfigError
from streamer.inference.prompts.mask_file import read_mask

WIDTH, HEIGHT = 160, 90
MASK = np.zeros((HEIGHT, WIDTH), np.uint8)
MASK[25:50, 50:82] = 255
LABELS = (MASK > 0).astype(np.uint8)
LABELS[60:75, 100:120], LABELS[5:15, 5:30] = 2, 3
DAVIS = [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]


def palette(indices: np.ndarray, colours: list[int]) -> Image.Image:
    image = Image.fromarray(indices)
    image.putpalette(colours)
    return image


def cut_out(mode: str) -> Image.Image:
    """Noise where the object is, or white; the rest is transparent, whatever its colour."""
    noise = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    image = Image.fromarray(noise).convert(mode[:-1])
    image.putalpha(Image.fromarray(MASK))
    assert image.mode == mode
    return image


def over(background: tuple[int, ...], colour: tuple[int, ...]) -> Image.Image:
    return Image.fromarray(np.where(MASK[..., None] > 0, colour, background).astype(np.uint8))


def turned() -> Image.Image:
    """On its side, with the orientation that turns it upright (EXIF 6)."""
    return Image.fromarray(MASK).transpose(Image.Transpose.ROTATE_90)


ONE_OBJECT: dict[str, Callable[[Path], None]] = {
    "white on black": lambda path: Image.fromarray(MASK).save(path, "png"),
    "zeros and ones": lambda path: Image.fromarray(LABELS == 1).convert("L").save(path, "png"),
    "level 1": lambda path: Image.fromarray(MASK // 255).save(path, "png"),
    "grey on black": lambda path: Image.fromarray(MASK // 2).save(path, "png"),
    "light on dark": lambda path: Image.fromarray(MASK // 2 + 20).save(path, "png"),
    "one bit": lambda path: Image.fromarray(MASK).convert("1").save(path, "png"),
    "16 bit": lambda path: Image.fromarray(MASK.astype(np.uint16) * 257).save(path, "png"),
    "16 bit id": lambda path: Image.fromarray((MASK > 0) * np.uint16(1001)).save(path, "png"),
    "floats": lambda path: Image.fromarray(MASK / np.float32(255)).save(path, "tiff"),
    "colour": lambda path: over((0, 0, 0), (200, 10, 30)).save(path, "png"),
    "opaque RGBA": lambda path: over((0, 0, 0, 255), (250, 250, 0, 255)).save(path, "png"),
    "nearly opaque RGBA": lambda path: over((0, 0, 0, 200), (250, 250, 0, 255)).save(path, "png"),
    "white transparent RGBA": lambda path: over((255,) * 3 + (0,), (255,) * 4).save(path, "png"),
    "black object RGBA": lambda path: over((0,) * 4, (0, 0, 0, 255)).save(path, "png"),
    "half transparent": lambda path: over((0,) * 4, (0, 255, 0, 100)).save(path, "png"),
    "cut out of a picture": lambda path: cut_out("RGBA").save(path, "png"),
    "grey with alpha": lambda path: cut_out("LA").save(path, "png"),
    "white palette entry 0": lambda path: palette(MASK // 255, [255] * 3 + [0] * 3).save(
        path, "png"
    ),
    "transparent palette entry": lambda path: palette(MASK // 255, [0] * 6).save(
        path, "png", transparency=0
    ),
    "gif": lambda path: Image.fromarray(MASK).save(path, "gif"),
    "bmp": lambda path: Image.fromarray(MASK).save(path, "bmp"),
    "turned by EXIF": lambda path: turned().save(path, "png", exif=orientation(6)),
}
LOSSY: dict[str, Callable[[Path], None]] = {
    "jpeg": lambda path: Image.fromarray(MASK).convert("RGB").save(path, "jpeg", quality=75),
    "bad jpeg": lambda path: over((0, 0, 0), (255, 0, 0)).save(path, "jpeg", quality=20),
    "webp": lambda path: Image.fromarray(MASK).save(path, "webp", quality=50),
    "smoothed": lambda path: (
        Image.fromarray(MASK).filter(ImageFilter.GaussianBlur(2)).save(path, "png")
    ),
    "feathered": lambda path: (
        Image.fromarray(MASK).filter(ImageFilter.GaussianBlur(3)).save(path, "png")
    ),
    "smoothed gif": lambda path: (
        Image.fromarray(MASK).filter(ImageFilter.GaussianBlur(2)).save(path, "gif")
    ),
    "smoothed colour": lambda path: (
        over((0, 0, 0), (0, 160, 40)).filter(ImageFilter.GaussianBlur(1)).save(path, "png")
    ),
}


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.mark.parametrize("name", ONE_OBJECT)
def test_a_file_of_one_object(name: str, tmp_path: Path) -> None:
    ONE_OBJECT[name](tmp_path / "mask")
    assert np.array_equal(read_mask("--mask", str(tmp_path / "mask")), MASK > 0)


@pytest.mark.parametrize("name", LOSSY)
def test_noise_and_blurred_edges_are_thresholded(name: str, tmp_path: Path) -> None:
    LOSSY[name](tmp_path / "mask")
    mask = read_mask("--mask", str(tmp_path / "mask"))
    both = np.count_nonzero(mask & (MASK > 0))
    assert both / np.count_nonzero(mask | (MASK > 0)) > 0.93
    assert not mask[:15].any()
    assert not mask[60:].any()


def thin() -> np.ndarray:
    line = np.zeros((HEIGHT, WIDTH), np.uint8)
    line[40, 20:120], line[41, 20:120] = 255, 90
    return line


def test_a_thin_object_has_no_flat_part(tmp_path: Path) -> None:
    Image.fromarray(thin()).save(tmp_path / "mask.png")
    mask = read_mask("--mask", str(tmp_path / "mask.png"))
    assert np.argwhere(mask).tolist() == [[40, x] for x in range(20, 120)]


SEVERAL: dict[str, tuple[Image.Image, str, dict[str, int]]] = {
    "palette": (palette(LABELS, DAVIS), "FILE:1, FILE:2, FILE:3", {"1": 800, "3": 250}),
    "levels": (Image.fromarray(LABELS), "FILE:1, FILE:2, FILE:3", {"2": 300}),
    "spread levels": (Image.fromarray(LABELS * 80), "FILE:80, FILE:160, FILE:240", {"160": 300}),
    "16 bit": (
        Image.fromarray(LABELS.astype(np.uint16) * 1000),
        "FILE:1000, FILE:2000, FILE:3000",
        {"3000": 250},
    ),
    "colours": (
        palette(LABELS, DAVIS).convert("RGB"),
        "FILE:#008000, FILE:#800000, FILE:#808000",
        {"#800000": 800, "#008000": 300},
    ),
    "void border": (
        palette(np.where(LABELS > 1, 255, LABELS).astype(np.uint8), DAVIS * 64),
        "FILE:1, FILE:255",
        {"1": 800},
    ),
    "no background": (over((255, 255, 255), (255, 0, 0)), "FILE:#ff0000", {"#ff0000": 800}),
    "palette without entry 0": (palette(MASK // 255 + 1, DAVIS), "FILE:1, FILE:2", {"2": 800}),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_several_objects_are_named_and_one_can_be_chosen(name: str, tmp_path: Path) -> None:
    image, choices, areas = SEVERAL[name]
    path = tmp_path / "a:b.png"
    image.save(path)
    with pytest.raises(ConfigError, match=f"name (one|the object): .*{choices}"):
        read_mask("--mask", str(path))
    for chosen, area in areas.items():
        assert read_mask("--mask", f"{path}:{chosen}").sum() == area
    with pytest.raises(ConfigError, match=r"has no 77; it has FILE:"):
        read_mask("--mask", f"{path}:77")


def test_a_mask_of_nearly_all_is_questioned_and_can_be_insisted_on(tmp_path: Path) -> None:
    path = tmp_path / "inverted.png"
    Image.fromarray(255 - MASK).save(path)
    with pytest.raises(ConfigError, match=r"covers 94% of the picture: is it inverted\?.*:ID"):
        read_mask("--mask", str(path))
    assert read_mask("--mask", f"{path}:255").sum() == MASK.size - 800
    Image.new("L", (8, 8), 255).save(path)
    with pytest.raises(ConfigError, match="covers 100%"):
        read_mask("--mask", str(path))


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (Image.new("L", (8, 8)), "no object"),
        (Image.new("RGBA", (8, 8), (255, 255, 255, 0)), "no object"),
        (palette(np.zeros((8, 8), np.uint8), [255] * 3), "no object"),
        (Image.effect_noise((80, 80), 60), "many shades, not a mask"),
        (cut_out("RGBA").convert("RGB"), "many shades, not a mask"),
    ],
)
def test_a_file_without_a_mask_is_refused(image: Image.Image, said: str, tmp_path: Path) -> None:
    image.save(tmp_path / "mask.png")
    with pytest.raises(ConfigError, match=said):
        read_mask("--mask", str(tmp_path / "mask.png"))


def test_black_jpeg_and_photograph_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.jpg"
    Image.effect_noise((80, 80), 4).point(lambda level: max(0, level - 120)).save(path)
    with pytest.raises(ConfigError, match="no object"):
        read_mask("--mask", str(path))
    Image.radial_gradient("L").save(path)
    with pytest.raises(ConfigError, match="not a mask"):
        read_mask("--mask", str(path))


def test_an_animation_is_refused(tmp_path: Path) -> None:
    frames = [Image.fromarray(MASK), Image.fromarray(255 - MASK)]
    frames[0].save(tmp_path / "mask.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(ConfigError, match="several pictures"):
        read_mask("--mask", str(tmp_path / "mask.gif"))


def test_mask_file_that_would_unpack_to_gigabytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    Image.new("1", (100, 100)).save(tmp_path / "mask.png")
    with pytest.raises(ConfigError, match="decompression bomb"):
        read_mask("--mask", str(tmp_path / "mask.png"))
