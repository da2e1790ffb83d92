"""Positions of players and ball at any time of a match: one loop, computed once.

Lengths are in units of the frame's height; x counts from the middle of the view, depth goes
from 0 (far touchline) to 1 (nearest to the camera). The loop closes on itself, so a match runs
for ever in the memory of one loop.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

LOOP_S = 180.0
SAMPLES_PER_S = 50
_SAMPLES = round(LOOP_S * SAMPLES_PER_S)

Samples = npt.NDArray[np.float64]


class PlayerPose(NamedTuple):
    """A player's position and gait. ``facing`` is -1 (left) to 1 (right)."""

    x: float
    depth: float
    facing: float
    away: float
    effort: float
    gait: float


class BallPose(NamedTuple):
    """The ball's position; ``height`` above the ground, ``roll`` in radians."""

    x: float
    depth: float
    height: float
    roll: float


@dataclass(frozen=True, slots=True)
class Movements:
    """One loop of a match: arrays (players, samples + 1); the last sample equals the first."""

    x: Samples
    depth: Samples
    facing: Samples
    away: Samples
    effort: Samples
    gait: Samples
    ball: Samples  # (4, samples + 1): x, depth, height, roll

    def player(self, player: int, time_s: float) -> PlayerPose:
        """The pose of one player; any ``time_s`` >= 0."""
        low, weight = _sample_position(time_s)
        return PlayerPose(
            *(
                float(row[player, low] * (1.0 - weight) + row[player, low + 1] * weight)
                for row in (self.x, self.depth, self.facing, self.away, self.effort, self.gait)
            )
        )

    def ball_pose(self, time_s: float) -> BallPose:
        """The pose of the ball; any ``time_s`` >= 0."""
        low, weight = _sample_position(time_s)
        values = self.ball[:, low] * (1.0 - weight) + self.ball[:, low + 1] * weight
        return BallPose(*(float(value) for value in values))


def _sample_position(time_s: float) -> tuple[int, float]:
    position = (time_s % LOOP_S) * SAMPLES_PER_S
    low = min(int(position), _SAMPLES - 1)
    return low, position - low


def make_movements(
    generator: np.random.Generator, players: int, half_width: float, pace: float = 1.0
) -> Movements:
    """Plan a loop for ``players`` in a view that reaches ``half_width`` to either side.

    Each coordinate is a sum of two whole harmonics of the loop: smooth, never at rest for long,
    and wide enough for players to leave the picture and return. ``pace`` 1.0 is a run.
    """
    turn = 2.0 * np.pi * np.arange(_SAMPLES) / _SAMPLES
    columns = []
    for player in range(players):
        # Alternate the side a player starts from, so that teams meet in the middle.
        centre = generator.uniform(-0.3, 0.3) * half_width
        sweep = generator.uniform(0.45, 0.9) * half_width
        start = (player % 2) * np.pi + generator.uniform(-0.8, 0.8) - np.pi / 2
        x = centre + sweep * np.sin(round(generator.uniform(7, 12) * pace) * turn + start)
        x += generator.uniform(0.05, 0.15) * half_width * _harmonic(generator, turn, 18, 30, pace)
        depth = generator.uniform(0.2, 0.8) + generator.uniform(0.15, 0.35) * _harmonic(
            generator, turn, 5, 11, pace
        )
        columns.append((x, depth))
    x = np.stack([column[0] for column in columns])
    depth = np.clip(_keep_apart(x, np.stack([column[1] for column in columns])), -0.05, 1.05)
    speed_x, speed_depth = _rate(x), 0.6 * _rate(depth)
    speed = np.hypot(speed_x, speed_depth)
    gait = np.cumsum(speed, axis=1) / SAMPLES_PER_S * 3.6  # steps per frame height travelled
    gait = np.concatenate([np.zeros((players, 1)), gait], axis=1)
    gait *= np.maximum(np.round(gait[:, -1:]), 1.0) / np.maximum(gait[:, -1:], 1e-9)
    return Movements(
        x=_closed(x),
        depth=_closed(depth),
        facing=_closed(speed_x / np.sqrt(speed**2 + 0.05**2)),
        away=_closed(-speed_depth / np.sqrt(speed**2 + 0.05**2)),
        effort=_closed(np.clip(speed / 0.34, 0.0, 1.0)),
        gait=gait,
        ball=_closed(_ball(generator, x, depth, speed_x, half_width)),
    )


def _harmonic(
    generator: np.random.Generator, turn: Samples, low: int, high: int, pace: float
) -> Samples:
    cycles = max(1, round(generator.uniform(low, high) * pace))
    return np.asarray(np.sin(cycles * turn + generator.uniform(0.0, 2.0 * np.pi)))


def _rate(values: Samples) -> Samples:
    """Change per second of periodic samples."""
    return (np.roll(values, -1, axis=-1) - np.roll(values, 1, axis=-1)) * (SAMPLES_PER_S / 2)


def _closed(values: Samples) -> Samples:
    return np.concatenate([values, values[..., :1]], axis=-1)


def _keep_apart(x: Samples, depth: Samples) -> Samples:
    """Separate players that pass each other in depth, so that their order is clear."""
    gap = depth[:, None] - depth[None, :]
    near = np.exp(-(((x[:, None] - x[None, :]) / 0.16) ** 2))
    return np.asarray(depth + (0.05 * np.tanh(gap / 0.08) * near).sum(axis=1))


def _ball(
    generator: np.random.Generator, x: Samples, depth: Samples, speed_x: Samples, half_width: float
) -> Samples:
    """The ball at a player's feet, then passed: rows x, depth, height, roll."""
    side = np.tanh(speed_x / 0.1)
    time_s = np.arange(_SAMPLES) / SAMPLES_PER_S
    touch = 0.015 * np.sin(2.0 * np.pi * round(LOOP_S * 1.6) * time_s / LOOP_S)
    feet_x = x + side * (0.085 + touch)
    feet_depth = depth + 0.04
    ball = np.empty((4, _SAMPLES))
    holder = first = int(np.argmin(np.abs(x[:, 0])))
    sample = 0
    while sample < _SAMPLES:
        release = sample + round(generator.uniform(0.9, 2.4) * SAMPLES_PER_S)
        flight = round(generator.uniform(0.7, 1.2) * SAMPLES_PER_S)
        last = release + flight + round(3.6 * SAMPLES_PER_S) >= _SAMPLES
        if last:  # the loop ends as it began: with the first holder
            release = max(sample + 1, _SAMPLES - flight)
            flight = _SAMPLES - release
        ball[0, sample:release] = feet_x[holder, sample:release]
        ball[1, sample:release] = feet_depth[holder, sample:release]
        ball[2, sample:release] = 0.0
        arrive = (release + flight) % _SAMPLES
        receiver = first if last else _receiver(generator, x[:, arrive], holder, half_width)
        share = np.arange(flight) / max(flight, 1)
        eased = share * (1.6 - 0.6 * share)
        for row, feet in ((0, feet_x), (1, feet_depth)):
            begin, end = feet[holder, release % _SAMPLES], feet[receiver, arrive]
            ball[row, release : release + flight] = begin + (end - begin) * eased
        lift = generator.choice([0.0, 0.04, 0.14])
        ball[2, release : release + flight] = 4.0 * lift * share * (1.0 - share)
        sample, holder = release + flight, receiver
    ball[3] = ball[0] / 0.02  # rolls without slipping, radius 0.02
    return ball


def _receiver(
    generator: np.random.Generator, x_on_arrival: Samples, holder: int, half_width: float
) -> int:
    """Another player to pass to, inside the picture if possible."""
    others = [player for player in range(len(x_on_arrival)) if player != holder]
    if not others:
        return holder
    inside = [player for player in others if abs(x_on_arrival[player]) < 0.85 * half_width]
    return int(generator.choice(inside or others))
