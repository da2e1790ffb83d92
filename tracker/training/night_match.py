"""Footage unlike nano's training data: the rendered match at night, through an image intensifier.

``python -m tracker.training.night_match OUT`` writes different scenes to ``OUT/train`` and
``OUT/held-out``, as JPEGImages/NAME/00000.jpg with Annotations/NAME/00000.png. It is the footage of
the fine-tuning example in ``docs/training.md``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from tracker.scenes import Match, SceneFrame

WIDTH, HEIGHT, RATE_HZ = 320, 180, 12.5
TRAINING_SEEDS, HELD_OUT_SEEDS = range(5000, 5008), range(5100, 5104)
_PLAYERS = 5
_CONTRAST, _BLACK_LEVEL, _GRAIN_LEVEL = 0.85, 12.0, 13.0
_PALETTE = bytes(
    (37 * index % 256, 101 * index % 256, 173 * index % 256)[channel]
    for index in range(256)
    for channel in range(3)
)


def night(frame: SceneFrame, generator: np.random.Generator) -> npt.NDArray[np.uint8]:
    """The frame (H, W, 3) as a green, dim picture under coarse grain, brightest in the middle."""
    grey = cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    height, width = grey.shape
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    seen = cv2.GaussianBlur(grey, (0, 0), 0.8) * _CONTRAST * (1 - 0.5 * (x**2 + y**2) / 2)
    coarse = generator.normal(0, 1, (height // 2 + 1, width // 2 + 1)).astype(np.float32)
    grain = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    levels = seen + _BLACK_LEVEL + _GRAIN_LEVEL * grain + generator.normal(0, 6, grey.shape)
    green = levels[..., None] * np.array((0.35, 1.0, 0.45))
    return np.asarray(green.clip(0, 255), dtype=np.uint8)


def write_scene(folder: Path, seed: int, frames: int) -> None:
    """Write one scene below ``folder``; objects are the players and the ball, by their ids."""
    name = f"scene-{seed}"
    images, masks = folder / "JPEGImages" / name, folder / "Annotations" / name
    images.mkdir(parents=True, exist_ok=True)
    masks.mkdir(parents=True, exist_ok=True)
    match = Match(seed, WIDTH, HEIGHT, RATE_HZ, players=_PLAYERS)
    generator = np.random.default_rng([seed, 17])
    for index in range(frames):
        frame = match.render(index)
        owner = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
        for object_id, mask in frame.masks.items():
            owner[mask] = object_id
        Image.fromarray(night(frame, generator)).save(images / f"{index:05}.jpg", quality=90)
        annotation = Image.fromarray(owner, "P")
        annotation.putpalette(_PALETTE)
        annotation.save(masks / f"{index:05}.png")


def main(arguments: list[str]) -> int:
    """Write both parts; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tracker.training.night_match")
    parser.add_argument("out", type=Path, help="folder to write train/ and held-out/ into")
    parser.add_argument("--frames", type=int, default=50, help="frames per scene (default: 50)")
    options = parser.parse_args(arguments)
    for part, seeds in (("train", TRAINING_SEEDS), ("held-out", HELD_OUT_SEEDS)):
        for seed in seeds:
            write_scene(options.out / part, seed, options.frames)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
