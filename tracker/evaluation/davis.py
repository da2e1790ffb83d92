"""DAVIS 2016 sequences from a tar file: NAME/frames/00000.jpg, NAME/masks/00000.png.

One merged object per sequence. DAVIS is CC BY-NC 4.0: for evaluation, never for training.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tracker.evaluation.clips import ClipFrame, EvaluationClip

OBJECT_ID = 1


def davis_clips(path: Path) -> list[EvaluationClip]:
    """The sequences in the tar file at ``path``, or in the only tar file of that folder.

    Raises FileNotFoundError if there is no such file, ValueError if it contains no sequence.
    """
    archive = _find_archive(path)
    with tarfile.open(archive) as tar:
        names = sorted(member.name for member in tar.getmembers() if member.isfile())
    clips = []
    for sequence in sorted({name.split("/")[0] for name in names}):
        frames = [name for name in names if name.startswith(f"{sequence}/frames/")]
        masks = [name for name in names if name.startswith(f"{sequence}/masks/")]
        if not frames or len(frames) != len(masks):
            raise ValueError(
                f"{archive}: {sequence} has {len(frames)} frames and {len(masks)} masks; "
                "expected as many of both, as NAME/frames/*.jpg and NAME/masks/*.png"
            )
        clips.append(
            EvaluationClip(
                name=sequence,
                category="davis2016",
                object_ids=(OBJECT_ID,),
                frame_count=len(frames),
                open=_Reader(archive, tuple(frames), tuple(masks)),
            )
        )
    if not clips:
        raise ValueError(f"{archive}: no sequence inside")
    return clips


class _Reader:
    """Decodes one sequence, a frame at a time, into fresh arrays."""

    def __init__(self, archive: Path, frames: tuple[str, ...], masks: tuple[str, ...]) -> None:
        self._archive, self._frames, self._masks = archive, frames, masks

    def __call__(self) -> Iterator[ClipFrame]:
        with tarfile.open(self._archive) as tar:
            for frame, mask in zip(self._frames, self._masks, strict=True):
                yield ClipFrame(
                    image=np.array(_decode(tar, frame).convert("RGB")),
                    truth={OBJECT_ID: np.asarray(_decode(tar, mask).convert("L")) > 0},
                )


def _decode(tar: tarfile.TarFile, name: str) -> Image.Image:
    stream = tar.extractfile(name)
    if stream is None:
        raise ValueError(f"{name} is not a plain file in the archive")
    with stream:
        image = Image.open(stream)
        image.load()
        return image


def _find_archive(path: Path) -> Path:
    if path.is_file():
        return path
    archives = sorted(path.glob("davis*.tar")) if path.is_dir() else []
    if len(archives) != 1:
        raise FileNotFoundError(
            f"{path}: expected a tar file, or a folder with one davis*.tar; found {len(archives)}"
        )
    return archives[0]
