"""Masks as pictures: ``masks/OBJECT/FRAME.png`` and DAVIS' ``palette/FRAME.png``.

A mask is white on black. In a palette picture the value of a pixel is the object's id; where
objects overlap, the higher id.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from streamer.recorded.outputs.files import write_bytes, write_grey
from streamer.recorded.tracking import FrameTracks


def davis_palette() -> list[int]:
    """Red, green and blue of 256 ids: the bits of an id by threes, the lowest weighing most."""
    bits = np.arange(256)[:, None] >> np.arange(24)[None] & 1
    weights = np.array([128, 64, 32, 16, 8, 4, 2, 1])
    return [int(each) for each in (bits.reshape(256, 8, 3) * weights[:, None]).sum(1).ravel()]


_PALETTE = davis_palette()


class MaskPictures:
    """Writes the masks of frames, in any order and of any pass."""

    def __init__(self, folder: Path, object_ids: list[int]) -> None:
        self._folder = folder
        for object_id in object_ids:
            (folder / "masks" / str(object_id)).mkdir(parents=True, exist_ok=True)
        (folder / "palette").mkdir(parents=True, exist_ok=True)

    def write(self, frame: FrameTracks) -> None:
        """The pictures of one frame; a frame that is damaged has none."""
        if frame.is_damaged:
            return
        name = f"{frame.frame_index:05}.png"
        palette = self._folder / "palette" / name
        # Objects of the other pass stay; writing a frame again changes nothing.
        ids = np.zeros((frame.height, frame.width), np.uint8)
        own = [track.object_id for track in frame.tracks]
        if palette.exists():
            with Image.open(palette) as before:
                earlier = np.asarray(before)
            if earlier.shape == ids.shape:
                ids = np.where(np.isin(earlier, own), 0, earlier).astype(np.uint8)
        for track in frame.tracks:
            x0, y0, x1, y1 = track.box_xyxy
            mask = np.zeros((frame.height, frame.width), np.uint8)
            mask[y0:y1, x0:x1] = track.crop.view(np.uint8) * np.uint8(255)
            write_grey(self._folder / "masks" / str(track.object_id) / name, mask)
            region = ids[y0:y1, x0:x1]
            region[track.crop & (region < track.object_id)] = track.object_id
        picture = Image.fromarray(ids)
        picture.putpalette(_PALETTE)
        data = io.BytesIO()
        picture.save(data, "PNG", compress_level=1)
        write_bytes(palette, data.getvalue())
