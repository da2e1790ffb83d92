"""Scene cuts and camera motion between consecutive frames.

Found in thumbnails, for all streams of a step at once.

Dimensions: B streams, S image size, T thumbnail side.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

SIDE = 64
# Consecutive frames of continuous films correlate by 0.62 or more after alignment (the worst: a car
# passing the lens); 95 % of pairs from different films by less than 0.50. Histograms of the former
# differ by 0.26 at most, of the latter by 0.08 at least. Measured on four films of streets, sports
# and animals and on rendered matches with and without panning.
CUT_CORRELATION, CUT_HISTOGRAM = 0.55, 0.05
# Below this height the correlation's peak is not taken for camera motion.
CAMERA_PEAK = 0.05
BINS = 8


class SceneChange(NamedTuple):
    """``shift_B2``: motion of the picture, x and y as fractions of its size; 0 at a cut.

    ``cut_B``: whether this frame shows a different scene from the previous one.
    """

    shift_B2: Tensor
    cut_B: Tensor


def thumbnails(pixels_B3SS: Tensor) -> Tensor:
    """Images (0..255) downsized to (B, 3, T, T), float32 in 0..1."""
    return F.interpolate(pixels_B3SS.float(), (SIDE, SIDE), mode="area") / 255


def compare(before_B3TT: Tensor, now_B3TT: Tensor) -> SceneChange:
    """The change between two thumbnails of each stream."""
    before_BTT, now_BTT = before_B3TT.mean(dim=1), now_B3TT.mean(dim=1)
    shift_B2, peak_B = _shift(before_BTT, now_BTT)
    moved_BTT = _moved(before_BTT, shift_B2)
    alike_B = torch.maximum(_correlation(moved_BTT, now_BTT), _correlation(before_BTT, now_BTT))
    recoloured_B = (_histogram(before_B3TT) - _histogram(now_B3TT)).abs().sum(dim=1) / 2
    cut_B = (alike_B < CUT_CORRELATION) & (recoloured_B > CUT_HISTOGRAM)
    trusted_B = (peak_B > CAMERA_PEAK) & ~cut_B
    return SceneChange(shift_B2 / SIDE * trusted_B[:, None], cut_B)


def _shift(before_BTT: Tensor, now_BTT: Tensor) -> tuple[Tensor, Tensor]:
    """Phase correlation: subpixel shift x, y (B, 2) and the height of the peak."""
    window = _window(before_BTT.device)
    wave_TT = _waves(before_BTT.device)
    both = torch.stack((_centred(now_BTT) * window, _centred(before_BTT) * window))
    now, before = (wave_TT @ both.to(wave_TT.dtype) @ wave_TT).unbind()
    cross = now * before.conj()
    size = cross.abs()
    cross = cross / (size + 1e-3 * size.amax(dim=(1, 2), keepdim=True) + 1e-12)
    surface_BTT = (wave_TT.conj() @ cross @ wave_TT.conj()).real / SIDE**2
    peak_B, place_B = surface_BTT.flatten(1).max(dim=1)
    y_B, x_B = place_B // SIDE, place_B % SIDE
    rows_B = torch.arange(len(peak_B), device=peak_B.device)
    finer = []
    for low, high in (
        (surface_BTT[rows_B, y_B, x_B - 1], surface_BTT[rows_B, y_B, (x_B + 1) % SIDE]),
        (surface_BTT[rows_B, y_B - 1, x_B], surface_BTT[rows_B, (y_B + 1) % SIDE, x_B]),
    ):
        # The parabola through the peak and its neighbours.
        curve = (2 * peak_B - low - high).clamp(min=1e-6)
        finer.append(((high - low) / (2 * curve)).clamp(-0.5, 0.5))
    whole = torch.stack((x_B, y_B), dim=1)
    whole = torch.where(whole > SIDE // 2, whole - SIDE, whole)
    return whole + torch.stack(finer, dim=1), peak_B


def _moved(picture_BTT: Tensor, shift_B2: Tensor) -> Tensor:
    """Pictures shifted by whole pixels, wrapping around."""
    line = torch.arange(SIDE, device=picture_BTT.device)
    x_BT, y_BT = ((line - shift_B2.round().long()[:, axis, None]) % SIDE for axis in (0, 1))
    rows_B11 = torch.arange(len(picture_BTT), device=picture_BTT.device)[:, None, None]
    return picture_BTT[rows_B11, y_BT[:, :, None], x_BT[:, None, :]]


def _correlation(one_BTT: Tensor, other_BTT: Tensor) -> Tensor:
    one, other = _centred(one_BTT).flatten(1), _centred(other_BTT).flatten(1)
    size_B: Tensor = one.norm(dim=1) * other.norm(dim=1)
    return (one * other).sum(dim=1) / size_B.clamp(min=1e-6)


def _histogram(picture_B3TT: Tensor) -> Tensor:
    """Normalised histograms (B, 3 · BINS); each colour sums to a third."""
    level_B3L = (picture_B3TT * BINS).long().clamp(0, BINS - 1).flatten(2)
    count = torch.zeros(*level_B3L.shape[:2], BINS, device=picture_B3TT.device)
    one_B3L = torch.ones((), device=picture_B3TT.device).expand(level_B3L.shape)
    return count.scatter_add_(2, level_B3L, one_B3L).flatten(1) / (3 * level_B3L.shape[2])


def _centred(picture_BTT: Tensor) -> Tensor:
    return picture_BTT - picture_BTT.mean(dim=(1, 2), keepdim=True)


@cache
def _window(device: torch.device) -> Tensor:
    line = torch.hann_window(SIDE, periodic=False, device=device)
    return line[:, None] * line


@cache
def _waves(device: torch.device) -> Tensor:
    """The discrete Fourier transform as a symmetric matrix, complex64 (T, T).

    Matrix products instead of ``torch.fft``, whose own threads make the network's OpenMP threads
    sleep between operations: with two threads a step of nano takes 48 ms with it and 33 without.
    """
    line = torch.arange(SIDE, device=device)
    turns_TT = (line[:, None] * line) % SIDE / SIDE
    return torch.polar(torch.ones_like(turns_TT), -2 * math.pi * turns_TT)
