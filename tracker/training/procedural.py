"""Procedural textures and shapes of noise, stripes and checks.

Every function takes a ``torch.Generator`` and is deterministic by its seed.
Dimensions: n pictures, S side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def uniform(generator: torch.Generator, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Uniform random numbers."""
    return low + (high - low) * torch.rand(shape, generator=generator, device=generator.device)


def smooth_noise(generator: torch.Generator, count: int, channels: int, side: int) -> Tensor:
    """Three octaves of smooth noise around 0, (n, channels, S, S)."""
    total = torch.zeros(count, channels, side, side, device=generator.device)
    for octave, cells in enumerate((3, 7, 17)):
        grid = uniform(generator, count, channels, cells, cells, low=-1.0)
        strength = uniform(generator, count, 1, 1, 1) / (octave + 1)
        total += strength * F.interpolate(grid, (side, side), mode="bilinear", align_corners=True)
    return total


def textures(generator: torch.Generator, count: int, side: int) -> Tensor:
    """Coloured textures in 0..1, (n, 3, S, S): two colours mixed by noise, stripes or checks."""
    axis = torch.linspace(-1, 1, side, device=generator.device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    angle = uniform(generator, count, 1, 1, high=math.pi)
    turned_x = x * angle.cos() + y * angle.sin()
    turned_y = y * angle.cos() - x * angle.sin()
    frequency = uniform(generator, count, 1, 1, low=3.0, high=22.0)
    bend = smooth_noise(generator, count, 1, side)[:, 0]
    stripes = torch.sin(frequency * turned_x + 2 * bend)
    checks = stripes * torch.sin(frequency * turned_y)
    kind = torch.randint(0, 3, (count, 1, 1), generator=generator, device=generator.device)
    pattern = torch.where(kind == 0, 1.5 * bend, torch.where(kind == 1, stripes, checks))
    mix = torch.sigmoid(3 * pattern).unsqueeze(1)
    first, second = uniform(generator, 2, count, 3, 1, 1)
    grain = smooth_noise(generator, count, 3, side)
    mixed: Tensor = first * mix + second * (1 - mix) + 0.15 * grain
    return mixed.clamp(0, 1)


def blobs(generator: torch.Generator, count: int, side: int) -> Tensor:
    """Alpha of random star-shaped blobs in 0..1, (n, 1, S, S), soft over about two pixels."""
    axis = torch.linspace(-1, 1, side, device=generator.device)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    radius, angle = torch.hypot(x, y), torch.atan2(y, x)
    edge = torch.full((count, side, side), 0.7, device=generator.device)
    for harmonic in range(1, 6):
        size = uniform(generator, count, 1, 1, low=-0.25, high=0.25) / harmonic**0.5
        phase = uniform(generator, count, 1, 1, high=2 * math.pi)
        edge = edge + size * torch.sin(harmonic * angle + phase)
    return ((edge - radius) * side / 4 + 0.5).clamp(0, 1).unsqueeze(1)


def sprites(generator: torch.Generator, count: int, side: int) -> Tensor:
    """Textured blobs as RGBA in 0..1, (n, 4, S, S)."""
    return torch.cat((textures(generator, count, side), blobs(generator, count, side)), dim=1)
