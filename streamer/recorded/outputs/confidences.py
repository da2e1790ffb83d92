"""Each pixel's probability to be of an object: ``confidences/OBJECT/FRAME.png`` or ``.npz``.

The sigmoid of the network's logits, upsampled as for the mask: above one half is the mask. A PNG
has 16 bits: 65535 is 1. An NPZ holds float16 ``confidence`` (height, width).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from streamer.recorded.outputs.files import write_bytes, write_grey
from streamer.recorded.tracking import FrameTracks
from tracker.images.transforms import resize_logits

ConfidenceForm = Literal["png", "npz"]


class Confidences:
    """Writes frames whose tracks carry logits (``TrackerOptions.return_logits``)."""

    def __init__(self, folder: Path, object_ids: list[int], form: ConfidenceForm) -> None:
        self._folder = folder / "confidences"
        self._form = form
        for object_id in object_ids:
            (self._folder / str(object_id)).mkdir(parents=True, exist_ok=True)

    def write(self, frame: FrameTracks) -> None:
        """The files of one frame."""
        for track in frame.tracks:
            assert track.logits is not None, "the tracker returns logits"
            logits = torch.from_numpy(track.logits).reshape(1, 1, *track.logits.shape[-2:])
            share_HW = resize_logits(logits, frame.height, frame.width)[0, 0].sigmoid().numpy()
            path = self._folder / str(track.object_id) / f"{frame.frame_index:05}.{self._form}"
            if self._form == "png":
                write_grey(path, (share_HW * 65535 + 0.5).astype(np.uint16))
            else:
                data = io.BytesIO()
                np.savez_compressed(data, confidence=share_HW.astype(np.float16))
                write_bytes(path, data.getvalue())
