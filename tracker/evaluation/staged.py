"""A rendered scene whose players follow scripted routes.

In the match of ``tracker.scenes`` players move at random; here every route is given, so that an
object is hidden for an exact time and meets an exact player.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tracker.scenes.ball import paint_ball
from tracker.scenes.body import paint_player
from tracker.scenes.frame import SceneFrame, mask_box
from tracker.scenes.layer import Layer
from tracker.scenes.motion import PlayerPose
from tracker.scenes.pitch import paint_pitch, paint_totem
from tracker.scenes.players import Appearance, make_teams

RATE_HZ = 15.0
_FAR_FEET, _NEAR_FEET = 0.40, 0.97  # where feet stand at depth 0 and 1, in frame heights
_FAR_HEIGHT, _NEAR_HEIGHT = 0.235, 0.335
_RUN = 0.34 / RATE_HZ  # frame heights a frame at full effort
_STRIDES = 3.6  # steps per frame height travelled
_NOISE_SHIFTS = 64
_WALL = 255
_WALL_HEIGHT = 0.72  # frame heights, from the lower edge up: hides every player behind it


@dataclass(frozen=True, slots=True)
class Route:
    """Straight lines between points: on frame ``frames[i]`` at (``x[i]``, ``depth[i]``).

    x counts from the middle of the picture in frame heights (16:9 reaches ±0.89), depth from 0
    (far) to 1 (near). Before the first and after the last point the player stands still.
    """

    frames: tuple[float, ...]
    x: tuple[float, ...]
    depth: tuple[float, ...]

    def __post_init__(self) -> None:
        if not len(self.frames) == len(self.x) == len(self.depth) >= 1:
            raise ValueError("a route needs as many frames as points, and at least one")

    def pose(self, frame: float) -> PlayerPose:
        """The player's position and gait on a frame."""
        x, depth = self._at(frame)
        before, after = self._at(frame - 0.5), self._at(frame + 0.5)
        speed = math.hypot(after[0] - before[0], 0.6 * (after[1] - before[1]))
        facing = self._facing(frame)
        return PlayerPose(
            x=x,
            depth=depth,
            facing=facing,
            away=0.0,
            effort=min(1.0, speed / _RUN),
            gait=_STRIDES * self._travelled(frame),
        )

    def _at(self, frame: float) -> tuple[float, float]:
        return (
            float(np.interp(frame, self.frames, self.x)),
            float(np.interp(frame, self.frames, self.depth)),
        )

    def _travelled(self, frame: float) -> float:
        lengths = np.hypot(np.diff(self.x), 0.6 * np.diff(self.depth))
        return float(np.interp(frame, self.frames, np.concatenate([[0.0], np.cumsum(lengths)])))

    def _facing(self, frame: float) -> float:
        """-1..1, the direction of the last run; a turn takes 6 frames."""
        turned = 0.0
        for back in range(6):
            step = np.sign(self._at(frame - back + 0.5)[0] - self._at(frame - back - 0.5)[0])
            turned += float(step)
        return turned / 6 if turned else self._last_direction(frame)

    def _last_direction(self, frame: float) -> float:
        steps = np.sign(np.diff(self.x))
        past = [step for step, start in zip(steps, self.frames[:-1], strict=True) if start <= frame]
        moving = [step for step in past if step]
        return float(moving[-1]) if moving else 1.0


@dataclass(frozen=True, slots=True)
class Ball:
    """A ball on a route; ``lift``: height of its flight between two points, in frame heights."""

    route: Route
    diameter: float
    lift: float = 0.0

    def height(self, frame: float) -> float:
        """Height above the ground on a frame: an arc between two points of the route."""
        times = np.asarray(self.route.frames)
        place = int(np.searchsorted(times, frame, side="right")) - 1
        if not 0 <= place < len(times) - 1:
            return 0.0
        share = (frame - times[place]) / (times[place + 1] - times[place])
        return float(4.0 * self.lift * share * (1.0 - share))


@dataclass(frozen=True, slots=True)
class Wall:
    """An advertising wall in front of all players: its middle and width in frame heights."""

    x: float
    width: float


class StagedScene:
    """Players 1..n on their routes, the ball n + 1 if there is one; ``render`` is pure.

    With ``look_alikes`` all players differ in their shirt numbers only.
    """

    def __init__(
        self,
        seed: int,
        width: int,
        height: int,
        routes: Sequence[Route],
        *,
        walls: Sequence[Wall] = (),
        ball: Ball | None = None,
        look_alikes: bool = False,
        noise: float = 3.0,
    ) -> None:
        looks, scenery, sensor = (np.random.default_rng([seed, part, 7]) for part in range(3))
        self.width, self.height = width, height
        self._routes, self._ball = tuple(routes), ball
        self._looks = _dress(looks, len(self._routes), look_alikes)
        self._pitch = paint_pitch(scenery, width, height)
        self._walls = [_build(scenery, wall, width, height) for wall in walls]
        size = (height + _NOISE_SHIFTS, width + _NOISE_SHIFTS, 1)
        self._noise = np.rint(sensor.normal(0.0, noise, size)).astype(np.int16)
        self.object_ids = tuple(range(1, len(self._routes) + 1 + (ball is not None)))
        self.labels = {place + 1: look.label for place, look in enumerate(self._looks)}
        if ball is not None:
            self.labels[self.object_ids[-1]] = "ball"

    def render(self, index: int) -> SceneFrame:
        """The frame ``index`` (0, 1, ...) as a fresh picture with fresh masks."""
        image = self._pitch.copy()
        owner = np.zeros((self.height, self.width), dtype=np.uint8)
        silhouettes = dict.fromkeys(self.object_ids, 0)
        for _, object_id, layer in sorted(self._layers(index), key=lambda entry: entry[0]):
            pasted = layer.paste(image)
            if object_id in silhouettes:
                silhouettes[object_id] = layer.silhouette_area()
            if pasted is not None:
                rows, columns, covered = pasted
                owner[rows, columns][covered] = object_id
        draw = (index * 2654435761) % (1 << 32)
        row, column = (draw >> 8) % _NOISE_SHIFTS, (draw >> 20) % _NOISE_SHIFTS
        signal = image + self._noise[row : row + self.height, column : column + self.width]
        np.clip(signal, 0, 255, out=signal)
        masks = {object_id: owner == object_id for object_id in self.object_ids}
        areas = {object_id: int(np.count_nonzero(mask)) for object_id, mask in masks.items()}
        return SceneFrame(
            image=signal.astype(np.uint8),
            masks=masks,
            boxes={object_id: mask_box(mask) for object_id, mask in masks.items()},
            labels=self.labels,
            visible={object_id: areas[object_id] > 0 for object_id in self.object_ids},
            visible_fraction={
                object_id: areas[object_id] / max(silhouettes[object_id], 1)
                for object_id in self.object_ids
            },
        )

    def _layers(self, index: int) -> list[tuple[float, int, Layer]]:
        """Everything that stands on the pitch as (ground line, id, layer)."""
        layers = [(float(self.height * 2), _WALL, layer) for layer in self._walls]
        for place, (look, route) in enumerate(zip(self._looks, self._routes, strict=True)):
            pose = route.pose(index)
            ground = _ground(pose.depth) * self.height
            tall = (_FAR_HEIGHT + (_NEAR_HEIGHT - _FAR_HEIGHT) * pose.depth) * self.height
            x = self.width / 2 + pose.x * self.height
            layer = paint_player(look, pose, x, ground, tall, sharp=float(tall > 40))
            layers.append((ground, place + 1, layer))
        if self._ball is not None:
            pose = self._ball.route.pose(index)
            ground = _ground(pose.depth) * self.height
            x = self.width / 2 + pose.x * self.height
            diameter = self._ball.diameter * self.height
            y = ground - diameter / 2 - self._ball.height(index) * self.height
            painted = paint_ball(x, y, diameter, pose.x / 0.02, (244, 244, 240))
            layers.append((ground, self.object_ids[-1], painted))
        return layers


def _dress(generator: np.random.Generator, players: int, look_alikes: bool) -> list[Appearance]:
    looks = make_teams(generator, max(players, 2))[:players]
    if look_alikes:
        looks = [replace(looks[0], number=2 + 3 * place) for place in range(players)]
    return looks


def _build(generator: np.random.Generator, wall: Wall, width: int, height: int) -> Layer:
    wide, tall = max(8, round(wall.width * height)), round(_WALL_HEIGHT * height)
    layer = paint_totem(generator, wide, tall)
    layer.left = round(width / 2 + wall.x * height - wide / 2)
    layer.top = height - tall
    return layer


def _ground(depth: float) -> float:
    return _FAR_FEET + (_NEAR_FEET - _FAR_FEET) * depth
