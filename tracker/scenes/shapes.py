"""Textured blobs that drift, turn and breathe over a textured background.

Nothing here looks like a thing of the world: what is tracked is defined by the prompt alone.
Every frame is computed from its index.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tracker.scenes.frame import FloatArray, ImageArray, SceneFrame, mask_box
from tracker.scenes.layer import Layer
from tracker.scenes.pitch import smooth_noise

_TEXTURE_SIDE = 128


@dataclass(frozen=True, slots=True)
class _Blob:
    radius: float
    wobble: FloatArray  # (waves,) share of the radius
    wobble_phase: FloatArray
    texture: FloatArray  # (side, side, 3), tiles
    path: FloatArray  # (2 axes, centre / swing / cycles per s / phase)
    spin: float
    breath: float


class Shapes:
    """A scene of ``count`` blobs; later ones lie over earlier ones. Ids are 1..count.

    Args:
        seed: everything drawn by lot comes from it; 10,000 and above are for evaluation.
        width, height: size of the pictures in pixels.
        rate_hz: frames per second.
        count: number of blobs, 1..8.
        look_alikes: all blobs carry the same texture and outline.
    """

    def __init__(
        self,
        seed: int,
        width: int = 640,
        height: int = 360,
        rate_hz: float = 25.0,
        *,
        count: int = 4,
        look_alikes: bool = False,
    ) -> None:
        if not 1 <= count <= 8:
            raise ValueError(f"count must be between 1 and 8, got {count}")
        generator = np.random.default_rng([seed, 0x51A9])
        self.width, self.height, self.rate_hz = width, height, rate_hz
        self._background = _background(generator, width, height)
        texture, outline = _texture(generator), generator.integers(1 << 30)
        self._blobs = [
            _blob(
                generator,
                width / height,
                texture if look_alikes else _texture(generator),
                np.random.default_rng(outline if look_alikes else generator.integers(1 << 30)),
            )
            for _ in range(count)
        ]
        self.object_ids = tuple(range(1, count + 1))
        self.labels = {object_id: f"shape {object_id}" for object_id in self.object_ids}

    def render(self, index: int) -> SceneFrame:
        """The frame ``index`` (0, 1, ...) as a fresh picture with fresh masks."""
        time_s = index / self.rate_hz
        image = self._background.copy()
        owner = np.zeros((self.height, self.width), dtype=np.uint8)
        silhouettes = {}
        for object_id, blob in zip(self.object_ids, self._blobs, strict=True):
            layer = _paint(blob, time_s, self.width, self.height)
            silhouettes[object_id] = layer.silhouette_area()
            pasted = layer.paste(image)
            if pasted is not None:
                rows, columns, covered = pasted
                owner[rows, columns][covered] = object_id
        masks = {object_id: owner == object_id for object_id in self.object_ids}
        areas = np.bincount(owner.ravel(), minlength=len(self._blobs) + 1)
        return SceneFrame(
            image=image,
            masks=masks,
            boxes={object_id: mask_box(mask) for object_id, mask in masks.items()},
            labels=self.labels,
            visible={object_id: bool(areas[object_id]) for object_id in self.object_ids},
            visible_fraction={
                object_id: float(areas[object_id]) / max(silhouettes[object_id], 1)
                for object_id in self.object_ids
            },
        )


def _background(generator: np.random.Generator, width: int, height: int) -> ImageArray:
    picture = np.zeros((height, width, 3), dtype=np.float32)
    picture += generator.uniform(60, 190, 3).astype(np.float32)
    for cell, weight in ((height // 3, 55.0), (height // 12, 30.0), (max(2, height // 60), 18.0)):
        for channel in range(3):
            picture[:, :, channel] += weight * smooth_noise(generator, height, width, cell)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _texture(generator: np.random.Generator) -> FloatArray:
    """A (side, side, 3) tile: two colours mixed by stripes, cells or cloud."""
    side = _TEXTURE_SIDE
    first, second = generator.uniform(15, 245, (2, 3)).astype(np.float32)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    cycles = generator.integers(1, 5, 2)
    kind = int(generator.integers(3))
    wave_x = np.sin(2 * math.pi * (cycles[0] * x + (cycles[1] * y if kind == 0 else 0.0)))
    wave_y = np.sin(2 * math.pi * cycles[1] * y)
    cloud = smooth_noise(generator, side, side, side // 8)
    mixture = (wave_x, wave_x * wave_y, 1.6 * cloud + 0.3 * wave_x)[kind]
    share = (0.5 + 0.5 * np.tanh(3.0 * mixture + 0.6 * cloud))[:, :, None]
    grain = 1.0 + 0.08 * generator.standard_normal((side, side, 1))
    return np.asarray(
        np.clip((first * share + second * (1 - share)) * grain, 0, 255), dtype=np.float32
    )


def _blob(
    generator: np.random.Generator,
    aspect: float,
    texture: FloatArray,
    outline: np.random.Generator,
) -> _Blob:
    waves = np.arange(2, 6)
    reach = aspect / 2
    path = np.array(
        [
            [generator.uniform(-0.5, 0.5) * reach, generator.uniform(0.5, 1.0) * reach,
             generator.uniform(0.05, 0.12), generator.uniform(0, 1)],
            [generator.uniform(-0.15, 0.15), generator.uniform(0.1, 0.3),
             generator.uniform(0.05, 0.15), generator.uniform(0, 1)],
        ],
        dtype=np.float32,
    )  # fmt: skip
    return _Blob(
        radius=float(outline.uniform(0.09, 0.17)),
        wobble=(outline.uniform(-0.22, 0.22, 4) * 2 / waves).astype(np.float32),
        wobble_phase=outline.uniform(0, 2 * math.pi, 4).astype(np.float32),
        texture=texture,
        path=path,
        spin=float(generator.uniform(-0.8, 0.8)),
        breath=float(generator.uniform(0.05, 0.2)),
    )


def _paint(blob: _Blob, time_s: float, width: int, height: int) -> Layer:
    swings = np.sin(2 * math.pi * (blob.path[:, 2] * time_s + blob.path[:, 3]))
    along, down = blob.path[:, 0] + blob.path[:, 1] * swings  # from the middle of the picture
    x, y = width / 2 + float(along) * height, height / 2 + float(down) * height
    size = blob.radius * height * (1.0 + blob.breath * math.sin(0.9 * time_s))
    reach = int(size * 1.8) + 2
    layer = Layer(int(x) - reach, int(y) - reach, 2 * reach, 2 * reach)
    columns = np.arange(2 * reach, dtype=np.float32)[None, :] + np.float32(layer.left + 0.5 - x)
    rows = np.arange(2 * reach, dtype=np.float32)[:, None] + np.float32(layer.top + 0.5 - y)
    turn = blob.spin * time_s
    cosine, sine = np.float32(math.cos(turn)), np.float32(math.sin(turn))
    local_x, local_y = columns * cosine + rows * sine, rows * cosine - columns * sine
    angle = np.arctan2(local_y, local_x)
    outline = np.ones_like(angle)
    for wave, (share, phase) in enumerate(zip(blob.wobble, blob.wobble_phase, strict=True), 2):
        outline += share * np.sin(wave * angle + phase + np.float32(0.7 * time_s))
    edge = np.float32(size) * np.maximum(outline, 0.35) - np.hypot(local_x, local_y)
    layer.alpha[...] = np.clip(edge + 0.5, 0.0, 1.0)
    scale = 0.6 * _TEXTURE_SIDE / size
    column = (local_x * scale).astype(np.intp) % _TEXTURE_SIDE
    row = (local_y * scale).astype(np.intp) % _TEXTURE_SIDE
    shade = np.clip(0.72 + 0.3 * edge / np.float32(size), 0.6, 1.0)
    layer.rgb[...] = blob.texture[row, column] * (layer.alpha * shade)[:, :, None]
    return layer
