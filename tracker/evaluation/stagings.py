"""Scripted scenes, each with one difficulty: occlusion, leaving, look-alikes, small balls.

Every function returns the scene, its length in frames and the objects to track. The seed determines
positions, depths, directions, appearances and other players.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tracker.evaluation.staged import Ball, Route, StagedScene, Wall

PACE = 0.022  # frame heights per frame: a run
_TROT = 0.013
_LEAD_IN, _AFTER = 14, 30  # frames before the first event, and after the last
_HALF = 0.889  # from the middle of a 16:9 picture to its edge
_BODY = 0.10  # half the width of a runner


class Staging(NamedTuple):
    """A scene, its length in frames and the ids to track."""

    scene: StagedScene
    frame_count: int
    object_ids: tuple[int, ...]


def occlusion(seed: int, hidden_frames: int, width: int, height: int) -> Staging:
    """A player runs behind a wall, is hidden for about ``hidden_frames``, and returns.

    On the same side or the other one; meanwhile team-mates run past on either side.
    """
    generator = np.random.default_rng([seed, 1])
    side = generator.choice([-1.0, 1.0])
    through = bool(generator.random() < 0.5)
    depth = float(generator.uniform(0.35, 0.6))
    # A player that passes a wall of this width without stopping is hidden for ``running`` frames.
    running = min(hidden_frames, 8)
    wall = Wall(float(generator.uniform(-0.1, 0.1)), 2 * _BODY + PACE * (running + 1))
    begin = wall.x - side * 0.45
    arrive = _LEAD_IN + 0.45 / PACE
    leave = arrive + max(0, hidden_frames - running)
    end = wall.x + (side if through else -side) * 0.5
    target = Route(
        (_LEAD_IN, arrive, leave, leave + 0.5 / PACE), (begin, wall.x, wall.x, end), (depth,) * 4
    )
    total = int(leave + 0.5 / PACE) + _AFTER
    company = [_wanderer(generator, total, wall) for _ in range(3)]
    scene = StagedScene(seed, width, height, [target, *company], walls=[wall])
    return Staging(scene, total, (1,))


def re_entry(seed: int, away_frames: int, width: int, height: int) -> Staging:
    """A player leaves the picture on one side and returns on the other, at another depth."""
    generator = np.random.default_rng([seed, 2])
    side = generator.choice([-1.0, 1.0])
    first, second = (float(generator.uniform(*each)) for each in ((0.2, 0.45), (0.55, 0.8)))
    outside = _HALF + 2 * _BODY
    start = side * (_HALF - 0.45)
    gone = _LEAD_IN + (outside - abs(start)) / PACE
    back = gone + away_frames
    inside = side * -0.25
    arrive = back + (outside - abs(inside)) / PACE
    target = Route(
        (_LEAD_IN, gone, gone + 1, back, arrive),
        (start, side * outside, -side * outside, -side * outside, inside),
        (first, first, second, second, second),
    )
    total = int(arrive) + _AFTER
    company = [_wanderer(generator, total) for _ in range(3)]
    return Staging(StagedScene(seed, width, height, [target, *company]), total, (1,))


def look_alikes(seed: int, meetings: int, width: int, height: int) -> Staging:
    """Two look-alikes meet and cross, or turn back, ``meetings`` times; a third stands by."""
    generator = np.random.default_rng([seed, 3])
    depth = float(generator.uniform(0.35, 0.65))
    gap = float(generator.choice([-1.0, 1.0]) * generator.uniform(0.02, 0.04))
    reach = 0.22
    frames, left, right = [float(_LEAD_IN)], [-reach], [reach]
    for _ in range(meetings):
        frames += [frames[-1] + reach / _TROT, frames[-1] + 2 * reach / _TROT]
        crosses = bool(generator.random() < 0.6)
        # Who turns back stops a shoulder before the middle, behind or in front of the other.
        stop = 0.0 if crosses else 0.02 * np.sign(left[-1])
        left += [float(stop), -left[-1] if crosses else left[-1]]
        right += [-float(stop), -right[-1] if crosses else right[-1]]
    shift = float(generator.uniform(-0.2, 0.2))
    routes = [
        Route(tuple(frames), tuple(x + shift for x in left), (depth,) * len(frames)),
        Route(tuple(frames), tuple(x + shift for x in right), (depth + gap,) * len(frames)),
        Route((0.0,), (float(generator.choice([-0.65, 0.65])),), (depth,)),
    ]
    scene = StagedScene(seed, width, height, routes, look_alikes=True)
    return Staging(scene, int(frames[-1]) + 20, (1, 2))


def small_ball(seed: int, diameter: float, speed: float, width: int, height: int) -> Staging:
    """A ball is passed among players; ``speed`` of its flight in frame heights per frame."""
    generator = np.random.default_rng([seed, 4])
    frames, x, depth = [0.0], [float(generator.uniform(-0.5, 0.5))], [0.5]
    while frames[-1] < 50:
        goal = float(generator.uniform(-0.75, 0.75))
        if abs(goal - x[-1]) < 0.3:
            continue
        rest = frames[-1] + float(generator.integers(3, 9))
        frames += [rest, rest + abs(goal - x[-1]) / speed]
        depth += [depth[-1], float(generator.uniform(0.25, 0.75))]
        x += [x[-1], goal]
    ball = Ball(Route(tuple(frames), tuple(x), tuple(depth)), diameter, 0.05)
    total = int(frames[-1]) + 5
    company = [_wanderer(generator, total) for _ in range(3)]
    scene = StagedScene(seed, width, height, company, ball=ball)
    return Staging(scene, total, (scene.object_ids[-1],))


def open_play(seed: int, frame_count: int, width: int, height: int) -> Staging:
    """Two players to track and two more, always visible: the scene for effects."""
    generator = np.random.default_rng([seed, 5])
    places = generator.permutation([-0.55, -0.2, 0.2, 0.55])
    routes = []
    for place in places:
        depth = float(generator.uniform(0.3, 0.7))
        turn = frame_count / 2
        there = float(np.clip(place + generator.choice([-1, 1]) * PACE * turn, -0.7, 0.7))
        routes.append(
            Route((0.0, turn, frame_count), (float(place), there, float(place)), (depth,) * 3)
        )
    return Staging(StagedScene(seed, width, height, routes), frame_count, (1, 2))


def _wanderer(generator: np.random.Generator, frames: int, wall: Wall | None = None) -> Route:
    """A player that runs to and fro on one side of the wall, farther away than the target."""
    side = float(generator.choice([-1.0, 1.0]))
    near = 0.35 if wall is None else abs(wall.x) + wall.width / 2 + 0.15
    times = np.arange(0.0, frames + 40, 25.0)
    x = side * (near + (_HALF - 0.1 - near) * generator.random(len(times)))
    depth = np.full(len(times), generator.uniform(0.05, 0.25))
    return Route(tuple(times.tolist()), tuple(x.tolist()), tuple(depth.tolist()))
