"""Photographs with outlined things: images/NAME.* and instances/NAME.png, in folders or tar files.

The PNG's value is the thing, 0 what nobody outlined. Training leaves every 16th photograph of a
source out (``kept_apart``), so that a model can be judged on photographs of the same kinds.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

from tracker.evaluation.clips import ClipFrame, EvaluationClip
from tracker.evaluation.readers.listing import Listed

SMALLEST_SHARE = 0.004
"""Of the picture: smaller things count for nothing."""
# One photograph of so many is kept apart, from this one on, in the order of names.
_EVERY, _FIRST = 16, 7
# A smaller source is trained on whole: it has too few kinds of things to judge by.
_SMALLEST_SOURCE = 64

ReadFile = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Photographs:
    """A source's photographs: (picture, map) names, sorted; ``read`` gives a file's content."""

    source: Path
    names: tuple[tuple[str, str], ...]
    read: ReadFile


def kept_apart(names: Sequence[str]) -> set[str]:
    """The photographs of one source that training leaves out; ``names`` of all its pictures."""
    return set(sorted(names)[_FIRST::_EVERY]) if len(names) >= _SMALLEST_SOURCE else set()


def photograph_clips(
    paths: Sequence[Path], max_objects: int, *, held_out: bool = False
) -> list[Listed]:
    """Every photograph with a thing to ask for, as a clip of one frame.

    ``held_out``: only those that training leaves out. Raises FileNotFoundError or ValueError with
    what was expected.
    """
    found: list[Listed] = []
    photographs = 0
    for path in paths:
        for source in _sources(path):
            chosen = kept_apart([picture for picture, _ in source.names])
            for picture, index_map in source.names:
                photographs += 1
                if held_out and picture not in chosen:
                    continue
                clip = _clip(source, picture, index_map, max_objects)
                if clip is not None:
                    found.append(Listed(clip.name, clip.category, lambda clip=clip: clip))  # type: ignore[misc]
    if not found:
        given = ", ".join(map(str, paths))
        raise ValueError(
            f"{given}: none of {photographs} photographs is kept apart from training, which "
            f"leaves out every {_EVERY}th of a source of at least {_SMALLEST_SOURCE}; without "
            "--held-out all are asked for"
            if held_out and photographs
            else f"{given}: no outlined thing of at least {SMALLEST_SHARE:.1%} of its photograph"
        )
    return sorted(found, key=lambda each: each.category)


def _sources(path: Path) -> Iterator[Photographs]:
    """The folder or archive itself, or those below it; sorted by name."""
    if path.is_file():
        yield _archive(path)
        return
    found = [path] if (path / "images").is_dir() else []
    if not found and path.is_dir():
        found = sorted(
            each
            for each in path.rglob("*")
            if (each.suffix == ".tar" and each.is_file()) or (each / "images").is_dir()
        )
    sources = [_archive(each) if each.is_file() else _folder(each) for each in found]
    sources = [each for each in sources if each.names]
    if not sources:
        raise FileNotFoundError(
            f"{path}: expected a folder or tar file with images/NAME.jpg and instances/NAME.png, "
            "or a folder of such"
        )
    yield from sources


def _folder(path: Path) -> Photographs:
    pairs = _paired([each.relative_to(path).as_posix() for each in path.glob("*/*")])
    return Photographs(path, pairs, lambda name: (path / name).read_bytes())


def _archive(path: Path) -> Photographs:
    try:
        with tarfile.open(path) as tar:
            members = {each.name: each for each in tar.getmembers() if each.isfile()}
    except tarfile.TarError as error:
        raise ValueError(f"{path}: cannot be read as a tar file: {error}") from error

    def read(name: str) -> bytes:
        with tarfile.open(path) as tar:
            stream = tar.extractfile(members[name])
            assert stream is not None, "a plain file"
            return stream.read()

    return Photographs(path, _paired(list(members)), read)


def _paired(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The pictures that have a map, with it."""
    there = set(names)
    pairs = []
    for name in sorted(names):
        path = PurePosixPath(name)
        index_map = path.parent.parent / "instances" / f"{path.stem}.png"
        if path.parent.name == "images" and str(index_map) in there:
            pairs.append((name, str(index_map)))
    return tuple(pairs)


def _clip(
    source: Photographs, picture: str, index_map: str, max_objects: int
) -> EvaluationClip | None:
    identity = _indexes(source, index_map)
    values, areas = np.unique(identity[identity > 0], return_counts=True)
    large = areas >= SMALLEST_SHARE * identity.size
    by_area = [int(value) for value in values[large][np.argsort(-areas[large], kind="stable")]]
    wanted, others = tuple(sorted(by_area[:max_objects])), by_area[max_objects:]
    if not wanted:
        return None

    def frames() -> Iterator[ClipFrame]:
        image = np.array(_opened(source, picture).convert("RGB"))
        ids = _indexes(source, index_map)
        if ids.shape != image.shape[:2]:
            raise ValueError(
                f"{source.source}: {index_map} has {ids.shape[1]}x{ids.shape[0]} pixels, its "
                f"picture {image.shape[1]}x{image.shape[0]}"
            )
        yield ClipFrame(
            image,
            {key: ids == key for key in wanted},
            others={key: ids == key for key in others},
        )

    return EvaluationClip(
        name=f"{source.source.stem}/{PurePosixPath(picture).stem}",
        category=_category(len(wanted)),
        object_ids=wanted,
        frame_count=1,
        open=frames,
        still=True,
    )


def _category(things: int) -> str:
    return {1: "1 thing", 2: "2 things"}.get(things, "3 things or more")


def _indexes(source: Photographs, name: str) -> npt.NDArray[np.uint8]:
    image = _opened(source, name)
    if image.mode not in ("P", "L"):
        raise ValueError(
            f"{source.source}: {name} must be a palette or grey PNG whose values are things, got "
            f"mode {image.mode}"
        )
    return np.asarray(image, dtype=np.uint8)


def _opened(source: Photographs, name: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(source.read(name)))
        image.load()
    except OSError as error:  # not a picture, or truncated; PIL does not name the file
        raise ValueError(f"{source.source}: {name} cannot be read: {error}") from error
    return image
