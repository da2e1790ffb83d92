"""Presentation times that jump with a camera's clock become steady; all others stay as they are."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from random import Random

import pytest

from streamer.sources.producer_reference import SteadyTime

TICKS = 3600


def steadied(
    steps: list[int],
    jump: Callable[[int], int] = lambda index: 0,
    late: Callable[[int], int] = lambda index: 0,
) -> list[int]:
    """Steps of the steadied times of pictures; ``late``: by how much each arrives late."""
    steady, media, arrived = SteadyTime(), 0, 0
    times = []
    for index, step in enumerate(steps):
        media += step
        arrived = max(arrived + 9, media + late(index))
        times.append(steady.steadied(media + jump(index), arrived, jumps=index > 0))
    return [after - before for before, after in itertools.pairwise(times)]


def stalls(index: int) -> int:
    """Half a second without pictures, now and then."""
    return 45_000 if index % 200 in range(100, 105) else Random(index).randrange(300)


@pytest.mark.parametrize("wobble", [10_000, -10_000, 9_000_000, -(10**12)])
def test_a_clock_that_jumps_to_and_fro_leaves_the_pictures_spacing(wobble: int) -> None:
    steps = [TICKS] * 500
    assert steadied(steps, lambda index: wobble * (index // 25 % 2)) == steps[1:]


def test_pictures_that_the_camera_leaves_out_leave_a_gap() -> None:
    steps = [TICKS * (1 if index % 20 else 3) for index in range(500)]
    assert steadied(steps, lambda index: 10_000 * (index // 25 % 2)) == steps[1:]


@pytest.mark.parametrize("late", [lambda index: 0, stalls])
def test_steady_clocks_are_left_alone_whatever_the_network_does(
    late: Callable[[int], int],
) -> None:
    steps = [TICKS + Random(index).randrange(-300, 300) for index in range(1000)]
    assert steadied(steps, late=late) == steps[1:]


def test_a_varying_rate_is_left_alone() -> None:
    steps = [Random(index).choice((1800, 3600, 9000, 18_000)) for index in range(1000)]
    assert steadied(steps) == steps[1:]


def test_a_long_pause_is_no_jump() -> None:
    steps = [TICKS] * 50 + [90_000 * 3600] + [TICKS] * 50
    assert steadied(steps) == steps[1:]


@pytest.mark.parametrize("seed", range(3))
def test_time_always_goes_on(seed: int) -> None:
    chance = Random(seed)
    steps = [chance.choice((900, 3600, 3600, 9000, 30_000)) for _ in range(1000)]
    jumps = [round(chance.gauss(0, 60_000)) for _ in range(41)]
    assert min(steadied(steps, lambda index: jumps[index // 25], stalls)) > 0
