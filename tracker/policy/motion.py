"""Predicts each object's box: one constant-velocity Kalman filter per object, batched.

Centre and size are filtered independently, each with its velocity, so the covariance consists of
2×2 blocks and its inverse is a division. Noise is proportional to the object's size, as in
DeepSORT (arXiv 1703.07402) and BoT-SORT (arXiv 2206.14651).

Dimensions: N objects; 4 coordinates: centre x, centre y, width, height, in shares of the picture;
5 numbers of each: place, velocity (per frame), and the covariance of the two (place, both,
velocity). Boxes are x0 y0 x1 y1 in the same shares.
"""

from __future__ import annotations

import torch
from torch import Tensor

COORDINATES, NUMBERS = 4, 5
# Standard deviations of place and velocity per frame, in shares of the object's size.
PLACE_NOISE, VELOCITY_NOISE = 1 / 20, 1 / 160
# Uncertainty after the first observation, in multiples of these.
FIRST_PLACE, FIRST_VELOCITY = 2.0, 10.0
SMALLEST_SIZE = 1 / 128


def begun(box_N4: Tensor) -> Tensor:
    """States (N, 4, 5) after the first observation, at rest."""
    place_N4 = _centre_and_size(box_N4)
    size_N4 = _size(place_N4)
    zero = torch.zeros_like(place_N4)
    return torch.stack(
        (
            place_N4,
            zero,
            (FIRST_PLACE * PLACE_NOISE * size_N4).square(),
            zero,
            (FIRST_VELOCITY * VELOCITY_NOISE * size_N4).square(),
        ),
        dim=2,
    )


def predicted(state_N45: Tensor, frames_N: Tensor, hidden_N: Tensor, shift_N2: Tensor) -> Tensor:
    """States ``frames_N`` frames later.

    ``shift_N2``: how far the whole picture moved meanwhile. A hidden object keeps its size: the
    velocity of a size is unreliable once the object is no longer observed.
    """
    place, velocity, var_place, both, var_velocity = state_N45.unbind(2)
    frames = frames_N[:, None]
    grows = (~hidden_N)[:, None].to(velocity)
    velocity = torch.cat((velocity[:, :2], velocity[:, 2:] * grows), dim=1)
    size_N4 = _size(place)
    moved = place + frames * velocity
    return torch.stack(
        (
            torch.cat((moved[:, :2] + shift_N2, moved[:, 2:].clamp(min=SMALLEST_SIZE)), dim=1),
            velocity,
            var_place
            + 2 * frames * both
            + frames.square() * var_velocity
            + frames * (PLACE_NOISE * size_N4).square(),
            both + frames * var_velocity,
            var_velocity + frames * (VELOCITY_NOISE * size_N4).square(),
        ),
        dim=2,
    )


def corrected(state_N45: Tensor, box_N4: Tensor) -> Tensor:
    """States after the boxes were observed."""
    place, velocity, var_place, both, var_velocity = state_N45.unbind(2)
    noise = (PLACE_NOISE * _size(place)).square()
    trust_place = var_place / (var_place + noise)
    trust_velocity = both / (var_place + noise)
    surprise = _centre_and_size(box_N4) - place
    return torch.stack(
        (
            place + trust_place * surprise,
            velocity + trust_velocity * surprise,
            (1 - trust_place) * var_place,
            (1 - trust_place) * both,
            var_velocity - trust_velocity * both,
        ),
        dim=2,
    )


def boxes(state_N45: Tensor) -> Tensor:
    """The expected box, (N, 4)."""
    centre, size = state_N45[:, :2, 0], state_N45[:, 2:, 0]
    return torch.cat((centre - size / 2, centre + size / 2), dim=1)


def spread(state_N45: Tensor) -> Tensor:
    """Standard deviation (N,) of the centre, along the axis where it is larger."""
    return state_N45[:, :2, 2].amax(dim=1).clamp(min=0).sqrt()


def _centre_and_size(box_N4: Tensor) -> Tensor:
    low, high = box_N4[:, :2], box_N4[:, 2:]
    return torch.cat(((low + high) / 2, high - low), dim=1)


def _size(place_N4: Tensor) -> Tensor:
    """The size that scales each coordinate's noise: width for x, height for y."""
    return place_N4[:, 2:].clamp(min=SMALLEST_SIZE).repeat(1, 2)
