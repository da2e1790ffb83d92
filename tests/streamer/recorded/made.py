"""Little clips whose pictures tell their number, and a tracker that is quick."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from streamer.types import ImageArray
from tests.tracker.little import little_tracker
from tracker.weights.checkpoint import save_checkpoint

WIDTH, HEIGHT, FRAMES = 96, 64, 12


def numbered(index: int, width: int = WIDTH, height: int = HEIGHT) -> ImageArray:
    """A grey that encodes the number, and a bright square that moves to the right."""
    image = np.full((height, width, 3), 20 + 15 * (index % 12), np.uint8)
    left = 8 + 3 * index
    image[20:40, left : left + 20] = (250, 220, 240)
    return image


def number_of(image: ImageArray) -> int:
    """The number that ``numbered`` was given."""
    return round((float(image[-12:-2, 2:-2].mean()) - 20) / 15)


def video(
    path: Path,
    frames: int = FRAMES,
    *,
    codec: str = "libx264",
    group: int = 4,
    b_frames: int = 2,
    times: list[int] | None = None,
    sound: str | None = None,
    layout: str = "yuv420p",
) -> Path:
    """A video of ``numbered`` pictures at 25 Hz, or at ``times`` in 25ths of a second."""
    x264 = {"preset": "ultrafast", "x264-params": f"scenecut=0:bframes={b_frames}:threads=1"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=x264 if codec == "libx264" else {})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, layout
        stream.codec_context.time_base = Fraction(1, 25)
        stream.codec_context.gop_size = group
        audio = None if sound is None else container.add_stream(sound, rate=16_000)
        for index, time in enumerate(times or range(frames)):
            picture = av.VideoFrame.from_ndarray(numbered(index), format="rgb24")
            picture.pts, picture.time_base = time, Fraction(1, 25)
            container.mux(stream.encode(picture))
            if audio is not None:
                samples = np.zeros((1, 640), np.int16)
                heard = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                heard.sample_rate, heard.pts = 16_000, 640 * index
                container.mux(audio.encode(heard))
        container.mux(stream.encode(None))
        if audio is not None:
            container.mux(audio.encode(None))
    return path


def pictures(folder: Path, frames: int = FRAMES) -> Path:
    """A folder of pictures: ``1.png`` to ``12.png``, which sort wrongly as text."""
    folder.mkdir()
    for index in range(frames):
        Image.fromarray(numbered(index)).save(folder / f"{index + 1}.png")
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a network that steps in a few milliseconds and finds every object."""
    path = tmp_path_factory.mktemp("checkpoint") / "little.safetensors"
    tracker = little_tracker(object_score_bias=4.0)
    save_checkpoint(tracker._engine.model, path, torch.float32)
    return path
