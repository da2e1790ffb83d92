"""Tiny datasets in the layouts of the published ones."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 24, 32


def pictures(folder: Path, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(np.full((HEIGHT, WIDTH, 3), 90, dtype=np.uint8)).save(folder / name)


def index_map(path: Path, squares: dict[int, tuple[int, int]], palette: bool = True) -> None:
    """A PNG in which a 6x6 square at (row, column) has each value."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    for value, (row, column) in squares.items():
        values[row : row + 6, column : column + 6] = value
    image = Image.fromarray(values)
    if palette:
        image.putpalette([channel for value in range(256) for channel in (value, 9, 255 - value)])
    image.save(path)


def mask_folders(root: Path, sizes: str = "", late: bool = True) -> Path:
    """Object 1 on all four frames, object 2 from the third on; the second is not annotated."""
    images, annotations = root / "JPEGImages" / sizes, root / "Annotations" / sizes
    pictures(images / "walk", [f"{index:05d}.jpg" for index in range(4)])
    for index in (0, 2, 3):
        squares = {1: (2, 2 + index)}
        if late and index >= 2:
            squares[2] = (12, 20)
        index_map(annotations / "walk" / f"{index:05d}.png", squares)
    return root


def photographs(root: Path, count: int = 1, things: int = 1) -> Path:
    """``count`` photographs with ``things`` squares each, as images/ and instances/."""
    pictures(root / "images", [f"{index:03d}.jpg" for index in range(count)])
    squares = {value: (2, 2 + 8 * (value - 1)) for value in range(1, things + 1)}
    for index in range(count):
        index_map(root / "instances" / f"{index:03d}.png", squares, palette=False)
    return root


def packed(root: Path) -> Path:
    """The same folder as a tar file beside it."""
    archive = root.with_suffix(".tar")
    with tarfile.open(archive, "w") as tar:
        for path in sorted(root.rglob("*.*")):
            tar.add(path, path.relative_to(root).as_posix())
    return archive


def meta(root: Path, ids: list[str]) -> None:
    objects = {key: {"category": "person", "frames": ["00000"]} for key in ids}
    (root / "meta.json").write_text(json.dumps({"videos": {"walk": {"objects": objects}}}))


def boxes(root: Path, truth: str, lines: list[str], images: str = "img", first: int = 1) -> Path:
    pictures(root / images, [f"{index:08d}.jpg" for index in range(first, first + len(lines))])
    (root / truth).write_text("\n".join(lines) + "\n")
    return root


def mot(root: Path) -> Path:
    """Two pedestrians that count, one that does not, and a car; the second is hidden at first."""
    pictures(root / "img1", [f"{index:06d}.jpg" for index in range(1, 5)])
    lines = [f"{frame},7,3,3,8,8,1,1,1" for frame in range(1, 5)]
    lines += [f"{frame},9,15,3,8,8,1,1,{seen}" for frame, seen in ((1, 0.1), (2, 0.5))]
    lines += ["1,4,1,1,4,4,0,1,1", "1,5,1,1,4,4,1,3,1"]
    (root / "gt").mkdir()
    (root / "gt" / "gt.txt").write_text("\n".join(lines))
    (root / "det").mkdir()
    (root / "det" / "det.txt").write_text(
        "1,-1,20,20,4,4,0.9\n2,-1,4,3,8,8,0.8\n2,-1,15,4,8,8,0.7\n"
    )
    (root / "seqinfo.ini").write_text("[Sequence]\nimDir=img1\nframeRate=14\nseqLength=4\n")
    return root


def read_map(path: Path) -> np.ndarray:
    return np.array(Image.open(path))


def write_map(path: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(path)
