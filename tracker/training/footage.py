"""A folder of pictures and videos that nobody outlined, labelled by a teacher.

The labels are a folder as ``FolderClips`` reads it, ``JPEGImages/NAME`` and ``Annotations/NAME``:
a picture is a clip of one frame, of a video short clips are taken all over it. They are made once:
an interrupted labelling continues with the next file, and a finished one is only read.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote_plus

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from tracker.training.assets import IMAGE_SUFFIXES, VIDEO_SUFFIXES, AssetError
from tracker.training.labeller import Labeller

# A clip of a video: so many frames, so far apart. Two seconds.
CLIP_FRAMES = 16
_FRAME_INTERVAL_S = 0.125
# Clips of a video begin so far apart; of a long one farther, so that no more are taken.
_CLIP_INTERVAL_S = 4.0
_MOST_CLIPS = 60
_LONGEST_SIDE = 1024
_QUALITY = 95

Picture = npt.NDArray[np.uint8]


def label_folder(
    footage: Path,
    out: Path,
    labeller: Labeller,
    report: Callable[[int, int, str], None] = lambda *_: None,
) -> int:
    """Label every picture and video below a folder; returns the number of clips with a thing.

    ``report`` is called with the files done, all files, and the name of the next one. Raises
    AssetError if there is nothing to label, if nothing was found in any, if a file cannot be read,
    or if ``out`` holds another teacher's labels.
    """
    if not footage.is_dir():
        raise AssetError(f"{footage} is not a folder; give the folder of the pictures and videos")
    files = sorted(
        path
        for path in footage.rglob("*")
        if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES
    )
    if not files:
        raise AssetError(f"{footage} holds no picture and no video")
    record = out / "labels.json"
    done = _begun(record, labeller)
    for number, path in enumerate(files):
        name = path.relative_to(footage).as_posix()
        report(number, len(files), name)
        if name not in done:
            done[name] = _label(path, name, out, labeller)
            partial = record.with_suffix(".partial")
            partial.write_text(json.dumps({"teacher": labeller.fingerprint, "clips": done}))
            partial.replace(record)
    clips = sum(done.values())
    if not clips:
        raise AssetError(
            f"the teacher found no thing in {footage}: in {len(files)} files no mask passed its "
            "thresholds; take larger weights or other pictures"
        )
    return clips


def _begun(record: Path, labeller: Labeller) -> dict[str, int]:
    """The clips of each file that is done."""
    if not record.exists():
        record.parent.mkdir(parents=True, exist_ok=True)
        return {}
    try:
        content = json.loads(record.read_text())
        teacher, clips = content["teacher"], content["clips"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise AssetError(
            f"{record} cannot be read: {error}; remove {record.parent}, or give another --out"
        ) from error
    if teacher != labeller.fingerprint:
        raise AssetError(
            f"{record.parent} holds the labels of another teacher: remove it, or give another --out"
        )
    return dict(clips)


def _label(path: Path, name: str, out: Path, labeller: Labeller) -> int:
    """Write the clips of one file; returns their number."""
    clips = _video_clips(path) if path.suffix.lower() in VIDEO_SUFFIXES else [[_picture(path)]]
    written = 0
    for pictures in clips:
        maps = labeller.maps(pictures)
        if maps:
            # Escaped: a/b.jpg and a-b.jpg keep names of their own.
            _write(out, f"{quote_plus(name)}-{written:03d}", pictures, maps)
            written += 1
    return written


def _write(
    out: Path, clip: str, pictures: Sequence[Picture], maps: Sequence[npt.NDArray[np.uint8]]
) -> None:
    folders = out / "JPEGImages" / clip, out / "Annotations" / clip
    for folder in folders:
        # Left by an interruption: a clip is written as a whole.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    for number, (picture, index_map) in enumerate(zip(pictures, maps, strict=True)):
        Image.fromarray(picture).save(folders[0] / f"{number:05d}.jpg", quality=_QUALITY)
        Image.fromarray(index_map).save(folders[1] / f"{number:05d}.png")


def _picture(path: Path) -> Picture:
    try:
        image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    except OSError as error:  # not a picture, or truncated; PIL does not name the file
        raise AssetError(f"{path} cannot be read as a picture: {error}; remove it") from error
    image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    return np.array(image)


def _video_clips(path: Path) -> Iterator[list[Picture]]:
    """Clips all over a video, at most ``_MOST_CLIPS``; one that ends early is as short as that."""
    capture = cv2.VideoCapture(str(path))
    try:
        rate_hz = capture.get(cv2.CAP_PROP_FPS) or 25.0
        stride = max(1, round(rate_hz * _FRAME_INTERVAL_S))
        length = stride * (CLIP_FRAMES - 1) + 1
        known = max(0.0, capture.get(cv2.CAP_PROP_FRAME_COUNT))
        interval = max(length, round(rate_hz * _CLIP_INTERVAL_S), round(known / _MOST_CLIPS))
        index, read_any = 0, False
        pictures: list[Picture] = []
        while index < interval * _MOST_CLIPS and capture.grab():
            place = index % interval
            if place < length and place % stride == 0:
                read, bgr = capture.retrieve()
                if read:
                    read_any = True
                    pictures.append(_reduced(np.asarray(bgr[..., ::-1], dtype=np.uint8)))
            index += 1
            if pictures and index % interval == length % interval:
                yield pictures
                pictures = []
        if pictures:
            yield pictures
    finally:
        capture.release()
    if not read_any:
        raise AssetError(f"{path} cannot be read as a video; remove it, or convert it")


def _reduced(picture: Picture) -> Picture:
    height, width = picture.shape[:2]
    scale = min(1.0, _LONGEST_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(resized, dtype=np.uint8)
