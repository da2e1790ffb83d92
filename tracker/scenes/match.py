"""A small match seen by a camera in the stands, with the true masks of players and ball.

Every frame is computed from its index alone: frames can be rendered in any order, a match never
ends, and memory is one loop of movements (a few megabytes).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from tracker.scenes.ball import paint_ball
from tracker.scenes.body import paint_player
from tracker.scenes.frame import ImageArray, SceneFrame, mask_box
from tracker.scenes.layer import Layer, clip_box
from tracker.scenes.motion import LOOP_S, make_movements
from tracker.scenes.pitch import paint_pitch, paint_pole, paint_totem
from tracker.scenes.players import make_teams

EVALUATION_SEED_START = 10_000
DEMO_SEED = 10_005

_FAR_FEET, _NEAR_FEET = 0.40, 0.97  # where feet stand at depth 0 and 1, in frame heights
_FAR_HEIGHT, _NEAR_HEIGHT = 0.235, 0.335  # how tall players are there
_OCCLUDER = 255  # in the map of owners; 0 is the background
_BALL_COLOURS = ((244, 244, 240), (250, 226, 60), (250, 150, 50))


class Match:
    """A rendered match; ``render(index)`` is a pure function of the arguments given here.

    Seeds below ``EVALUATION_SEED_START`` are for training, the others for evaluation only.
    Object ids are 1..players for the players and players + 1 for the ball.

    Args:
        seed: of everything random in the scene.
        width, height: size of the pictures in pixels; the scene is laid out for its aspect.
        rate_hz: frames per second; movements have the same speed at any rate.
        players: 1..12.
        occluders: 0, 1 (an advertising column near the camera) or 2 (and a post on the pitch).
        pan: camera motion to either side, as a fraction of the width (0 = fixed).
        look_alikes: team-mates differ only in their shirt numbers.
        ball_diameter: in frame heights (0.042 is 15 pixels of 360).
        pace: speed of all movements, 1.0 is a run.
        noise: standard deviation of the sensor noise in grey levels.
        lighting: amplitude of slow brightness changes (fraction).
    """

    def __init__(
        self,
        seed: int,
        width: int = 640,
        height: int = 360,
        rate_hz: float = 25.0,
        *,
        players: int = 7,
        occluders: int = 2,
        pan: float = 0.0,
        look_alikes: bool = False,
        ball_diameter: float = 0.042,
        pace: float = 1.0,
        noise: float = 3.0,
        lighting: float = 0.10,
    ) -> None:
        if width < 32 or height < 32:
            raise ValueError(f"a match needs at least 32x32 pixels, got {width}x{height}")
        if not 1 <= players <= 12:
            raise ValueError(f"players must be between 1 and 12, got {players}")
        if not rate_hz > 0:
            raise ValueError(f"rate_hz must be above 0, got {rate_hz}")
        # Each part draws from a generator of its own: the layout is the same at every size.
        looks, movements, light, scenery, places = (
            np.random.default_rng([seed, part]) for part in range(5)
        )
        self.width, self.height, self.rate_hz = width, height, rate_hz
        self._margin = int(pan * width)
        self._ball_diameter = ball_diameter
        self._lighting = lighting
        self._looks = make_teams(looks, players, look_alikes)
        self._ball_colour = _BALL_COLOURS[int(looks.integers(len(_BALL_COLOURS)))]
        self._movements = make_movements(movements, players, width / height / 2, pace)
        self._light_cycles = light.integers(5, 14, 3)
        self._light_phase = light.uniform(0, 2 * math.pi, 3)
        self._pan_phase = float(light.uniform(0, 2 * math.pi))
        self._occluders = self._place_occluders(places, occluders)
        self._pitch = paint_pitch(scenery, width + 2 * self._margin, height)
        self._noise = _noise_tile(scenery, width, height, noise)
        self.object_ids = tuple(range(1, players + 2))
        self.ball_id = players + 1
        self.labels = {player + 1: look.label for player, look in enumerate(self._looks)}
        self.labels[self.ball_id] = "ball"

    def frames(self, start: int = 0) -> Iterator[SceneFrame]:
        """Frames from ``start`` on, without end."""
        index = start
        while True:
            yield self.render(index)
            index += 1

    def clip(self, start: int, count: int, stride: int = 1) -> list[SceneFrame]:
        """``count`` frames from ``start`` on, every ``stride``-th one."""
        return [self.render(start + step * stride) for step in range(count)]

    def render(self, index: int) -> SceneFrame:
        """The frame ``index`` (0, 1, ...) as a fresh picture with fresh masks."""
        if index < 0:
            raise ValueError(f"a frame index must not be negative, got {index}")
        time_s = (index / self.rate_hz) % LOOP_S
        turn = 2 * math.pi * time_s / LOOP_S
        shift = round(self._margin * math.sin(9 * turn + self._pan_phase))
        left = self._margin + shift
        image = self._pitch[:, left : left + self.width].copy()
        layers = self._layers(image, time_s, shift)
        owner = np.zeros((self.height, self.width), dtype=np.uint8)
        silhouettes = dict.fromkeys(self.object_ids, 0)
        for _, object_id, layer in sorted(layers, key=lambda entry: entry[0]):
            pasted = layer.paste(image)
            if object_id in silhouettes:
                silhouettes[object_id] = layer.silhouette_area()
            if pasted is not None:
                rows, columns, covered = pasted
                owner[rows, columns][covered] = object_id
        self._expose(image, index, turn)
        masks = {object_id: owner == object_id for object_id in self.object_ids}
        areas = np.bincount(owner.ravel(), minlength=256)
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

    def _layers(
        self, image: ImageArray, time_s: float, shift: int
    ) -> list[tuple[float, int, Layer]]:
        """Everything that stands on the pitch as (ground line, id, layer); paints shadows."""
        layers = [
            (ground, _OCCLUDER, _moved(layer, x - shift, top))
            for ground, x, top, layer in self._occluders
        ]
        middle = self.width / 2 - shift
        for player, look in enumerate(self._looks):
            pose = self._movements.player(player, time_s)
            x, ground = middle + pose.x * self.height, _ground(pose.depth) * self.height
            tall = _scale(pose.depth) * self.height
            if abs(x - self.width / 2) > self.width / 2 + tall:
                continue
            _paint_shadow(image, x, ground, 0.5 * tall, 0.055 * tall)
            layer = paint_player(look, pose, x, ground, tall, sharp=float(tall > 40))
            layers.append((ground, player + 1, layer))
        ball = self._movements.ball_pose(time_s)
        x, ground = middle + ball.x * self.height, _ground(ball.depth) * self.height
        diameter = self._ball_diameter * self.height * _scale(ball.depth) / _scale(0.5)
        if abs(x - self.width / 2) < self.width / 2 + 2 * diameter:
            _paint_shadow(image, x, ground, 0.6 * diameter, 0.3 * diameter)
            y = ground - diameter / 2 - ball.height * self.height
            layer = paint_ball(x, y, diameter, ball.roll, self._ball_colour)
            layers.append((ground, self.ball_id, layer))
        return layers

    def _place_occluders(
        self, generator: np.random.Generator, count: int
    ) -> list[tuple[float, int, int, Layer]]:
        """Columns and posts as (ground line, left, top, layer) in an unpanned picture."""
        placed = []
        side = 1 if generator.random() < 0.5 else -1
        totem_at, post_at = generator.uniform((0.12, 0.1), (0.3, 0.3))
        if count >= 1:
            wide, tall = round(0.14 * self.height), round(0.60 * self.height)
            x = self.width / 2 + side * totem_at * self.width
            totem = paint_totem(generator, wide, tall)
            placed.append((1.06 * self.height, round(x - wide / 2), self.height - tall, totem))
        if count >= 2:
            wide, tall = max(3, round(0.035 * self.height)), round(0.46 * self.height)
            ground = _ground(0.55) * self.height
            x = self.width / 2 - side * post_at * self.width
            post = paint_pole(wide, tall)
            placed.append((ground, round(x - wide / 2), round(ground - tall), post))
        return placed

    def _expose(self, image: ImageArray, index: int, turn: float) -> None:
        """Light and its colour drift slowly, and the sensor adds noise; in place."""
        drift = np.sin(self._light_cycles * turn + self._light_phase)
        gains = 128.0 * (1.0 + self._lighting * (drift[0] + 0.25 * drift[1] * np.array([1, 0, -1])))
        exposed = image * gains.astype(np.uint16)  # 7 fractional bits: stays below 2 ** 16
        exposed >>= 7
        signal = exposed.view(np.int16)
        # The same frame always gets the same part of the tile; neighbours get others.
        draw = (index % (1 << 30)) * 2654435761 % (1 << 32)
        row, column = (draw >> 8) % _NOISE_SHIFTS, (draw >> 20) % _NOISE_SHIFTS
        signal += self._noise[row : row + self.height, column : column + self.width]
        np.clip(signal, 0, 255, out=signal)
        image[...] = signal


_NOISE_SHIFTS = 64


def _noise_tile(
    generator: np.random.Generator, width: int, height: int, deviation: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    size = (height + _NOISE_SHIFTS, width + _NOISE_SHIFTS, 3)
    luma = generator.normal(0.0, deviation, size[:2]).astype(np.float32)[:, :, None]
    chroma = generator.normal(0.0, 0.4 * deviation, size).astype(np.float32)
    return np.asarray(np.rint(luma + chroma), dtype=np.int16)


def _ground(depth: float) -> float:
    return _FAR_FEET + (_NEAR_FEET - _FAR_FEET) * depth


def _scale(depth: float) -> float:
    return _FAR_HEIGHT + (_NEAR_HEIGHT - _FAR_HEIGHT) * depth


def _moved(layer: Layer, left: int, top: int) -> Layer:
    """The same pixels at another place."""
    moved = Layer.__new__(Layer)
    moved.left, moved.top, moved.rgb, moved.alpha = left, top, layer.rgb, layer.alpha
    return moved


def _paint_shadow(image: ImageArray, x: float, y: float, length: float, radius: float) -> None:
    """Darken the ground to the right of a foot at (x, y): a soft, flat ellipse."""
    left, top = int(x - radius) - 2, int(y - radius - 0.12 * length) - 2
    size = (int(2 * radius + 0.12 * length) + 5, int(length + 2 * radius) + 5)
    clipped = clip_box(left, top, size, image.shape)
    if clipped is None:
        return
    rows, columns, _, _ = clipped
    across = np.arange(columns.start, columns.stop, dtype=np.float32) + np.float32(0.5 - x)
    along = np.clip(across / np.float32(length), 0.0, 1.0)
    down = (np.arange(rows.start, rows.stop, dtype=np.float32) + np.float32(0.5 - y))[:, None]
    offset = np.hypot(across - along * length, (down + 0.12 * length * along) * 1.6)
    dark = np.clip(1.4 - offset / np.float32(radius), 0.0, 1.0) * (0.5 - 0.22 * along)
    area = image[rows, columns]
    area[...] = area * (1.0 - dark)[:, :, None]
