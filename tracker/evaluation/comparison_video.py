"""Videos of the worst clips: ground truth on the left, tracked masks on the right.

The clip's name and the frame's number are shown above. The worst clips are known only at the end,
so every clip is recorded, and only the worst ones so far stay on disk.
"""

from __future__ import annotations

import heapq
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from tracker.evaluation.clips import ClipFrame, EvaluationClip
from tracker.evaluation.file_names import file_stem
from tracker.evaluation.overlay import colour_of
from tracker.evaluation.runner import ClipScore
from tracker.evaluation.series import ObjectScore
from tracker.types import MaskArray

LARGEST_WIDTH = 640  # of either half
CAPTION_HEIGHT = 20
_TINT = 0.55


class WorstClips:
    """Records every clip and keeps the ``count`` with the lowest scores."""

    def __init__(self, directory: Path, count: int) -> None:
        self._directory, self._count = directory, count
        self._film: _Film | None = None
        self._kept: list[tuple[float, str, Path]] = []  # a heap, the best of the worst on top

    def __call__(
        self, clip: EvaluationClip, index: int, frame: ClipFrame, masks: dict[int, MaskArray]
    ) -> None:
        """Record one frame; a clip's first one opens the file."""
        if index == 0:
            path = self._directory / f"{file_stem(clip.category, clip.name)}.mp4"
            self._directory.mkdir(parents=True, exist_ok=True)
            self._film = _Film(path, clip)
        if self._film is not None:
            self._film.add(frame, masks)

    def left_out(self) -> None:
        """Delete the video of a clip that could not be scored."""
        if self._film is not None:
            self._film.close().unlink()
            self._film = None

    def finished(self, score: ClipScore) -> None:
        """Keep the video of a scored clip, or delete the one with the best score."""
        if self._film is None:
            return
        path = self._film.close()
        self._film = None
        quality = float(np.mean([quality_of(entry) for entry in score.objects]))
        heapq.heappush(self._kept, (-quality, score.name, path))
        if len(self._kept) > self._count:
            # The smallest of the negated: the best.
            heapq.heappop(self._kept)[2].unlink()

    @property
    def films(self) -> list[Path]:
        """The videos kept, the worst first."""
        return [path for _, _, path in sorted(self._kept, reverse=True)]


def quality_of(entry: ObjectScore) -> float:
    """J&F, or the success of boxes without known masks."""
    if entry.mean is not None:
        return entry.mean
    return entry.box.success_auc if entry.box is not None else 0.0


class _Film:
    """One H.264 video, of its first frame's size."""

    def __init__(self, path: Path, clip: EvaluationClip) -> None:
        self._path, self._clip = path, clip
        self._container = av.open(str(path), "w")
        rate = Fraction(clip.rate_hz).limit_denominator(1000)
        self._stream = self._container.add_stream("libx264", rate, {"crf": "23", "preset": "fast"})
        self._stream.pix_fmt = "yuv420p"
        self._size = (0, 0)  # of either half: width, height
        self._frames = 0
        self._font = ImageFont.load_default(size=CAPTION_HEIGHT - 8)

    def add(self, frame: ClipFrame, masks: dict[int, MaskArray]) -> None:
        if not self._frames:
            height, width = frame.image.shape[:2]
            scale = min(1.0, LARGEST_WIDTH / width)
            # Even, as H.264 has them.
            self._size = (2 * max(1, int(width * scale / 2)), 2 * max(1, int(height * scale / 2)))
            self._stream.width = 2 * self._size[0]
            self._stream.height = self._size[1] + CAPTION_HEIGHT
        ids = self._clip.object_ids
        true = _painted(frame, frame.truth, ids)
        for object_id, box in frame.boxes.items():
            if box is not None:
                _outline(true, box, colour_of(ids.index(object_id)))
        annotated = "true" if frame.truth or frame.boxes else "not annotated here"
        picture = Image.new("RGB", (self._stream.width, self._stream.height))
        write = ImageDraw.Draw(picture).text
        for left, half, caption in (
            (0, true, f"{self._clip.name}, frame {self._frames}: {annotated}"),
            (self._size[0], _painted(frame, masks, ids), "found"),
        ):
            image = Image.fromarray(half).resize(self._size, Image.Resampling.BILINEAR)
            picture.paste(image, (left, CAPTION_HEIGHT))
            write((left + 4, 3), caption, fill="white", font=self._font)
        pixels = np.array(picture)
        pixels[:, self._size[0] - 1 : self._size[0] + 1] = 255
        self._container.mux(self._stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        self._frames += 1

    def close(self) -> Path:
        self._container.mux(self._stream.encode())
        self._container.close()
        return self._path


def _painted(
    frame: ClipFrame, masks: dict[int, MaskArray], ids: tuple[int, ...]
) -> npt.NDArray[np.uint8]:
    picture = frame.image.astype(np.float32)
    for place, object_id in enumerate(ids):
        mask = masks.get(object_id)
        if mask is not None:
            tint = np.array(colour_of(place), dtype=np.float32)
            picture[mask] = (1 - _TINT) * picture[mask] + _TINT * tint
    return picture.astype(np.uint8)


def _outline(
    picture: npt.NDArray[np.uint8],
    box: tuple[float, float, float, float],
    colour: tuple[int, int, int],
) -> None:
    height, width = picture.shape[:2]
    x0, y0 = max(0, round(box[0])), max(0, round(box[1]))
    x1, y1 = min(width, round(box[2])), min(height, round(box[3]))
    for rows, columns in (
        (slice(y0, y0 + 2), slice(x0, x1)),
        (slice(max(0, y1 - 2), y1), slice(x0, x1)),
        (slice(y0, y1), slice(x0, x0 + 2)),
        (slice(y0, y1), slice(max(0, x1 - 2), x1)),
    ):
        picture[rows, columns] = colour
