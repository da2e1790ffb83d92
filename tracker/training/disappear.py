"""Added absences: an object of a recorded clip is hidden for some frames and returns.

Complete absences are rare in the scenes and important to learn, so an occluder is placed over the
object for some frames, or the camera turns away and back.

Dimensions: T frames, S image side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.training.procedural import textures, uniform

_MARGIN_SHARE, _MARGIN_PIXELS = 0.12, 3
_LARGEST_COVER_SHARE = 0.3
_VANISH_SHARE = 0.5
_PLACES = 12


def cover(
    generator: torch.Generator, images_T3SS: Tensor, owner_TSS: Tensor, identity: int
) -> tuple[Tensor, Tensor]:
    """Hide an object on some frames after the first, mostly not on the last.

    Under a textured plate, or under a copy of another part of the scene. Returns images and owners;
    owners under the plate are 0.
    """
    frames, side = owner_TSS.shape[0], owner_TSS.shape[-1]
    images, owners = images_T3SS.clone(), owner_TSS.clone()
    first = 1 + _integer(generator, frames - 1)
    last = first + _integer(generator, frames - first)
    if last == frames - 1 and first < last and float(uniform(generator)) < 0.7:
        last -= 1
    hidden = owners[first : last + 1] == identity
    if not bool(hidden.any()):
        return images, owners
    together = _box(hidden.any(dim=0), side)
    stands = (together[2] - together[0]) * (together[3] - together[1])
    stands_still = stands < _LARGEST_COVER_SHARE * side * side
    vanishes = float(uniform(generator)) < _VANISH_SHARE
    plate = textures(generator, 1, 48)[0]
    for frame in range(first, last + 1):
        mask = owners[frame] == identity
        if not stands_still and not bool(mask.any()):
            continue
        left, top, right, bottom = together if stands_still else _box(mask, side)
        window = (slice(top, bottom), slice(left, right))
        size = (bottom - top, right - left)
        if vanishes:
            y, x = _emptiest(generator, owners[frame], size)
            images[frame][:, *window] = images[frame][:, y : y + size[0], x : x + size[1]].clone()
        else:
            patch = F.interpolate(plate.unsqueeze(0), size, mode="bilinear", align_corners=False)
            images[frame][:, *window] = patch[0]
        owners[frame][window] = 0
    return images, owners


def turning_windows(generator: torch.Generator, frames: int, size: int, full_size: int) -> Tensor:
    """Sampling grids (T, S, S, 2) of a camera that pans, or turns away and back.

    The view is half to four fifths of the scene wide; ``size`` below ``full_size`` shows less of it
    at the same scale.
    """
    device = generator.device
    zoom = float(uniform(generator, low=0.5, high=0.8))
    squash = float(uniform(generator, low=-0.15, high=0.15).exp())
    share = size / full_size
    half_x, half_y = min(1.0, zoom * squash) * share, min(1.0, zoom) * share
    limit = torch.tensor([1 - half_x, 1 - half_y], device=device)
    start, end = uniform(generator, 2, 2, low=-1.0, high=1.0) * limit
    time = torch.linspace(0, 1, frames, device=device)
    returns = float(uniform(generator)) < 0.6
    # There and back with a stay at the far end, or one slow pan.
    course = (1.6 * torch.sin(math.pi * time)).clamp(max=1) if returns else time
    centre = start + (end - start) * course[:, None]
    breath = 1 + 0.06 * torch.sin(2 * math.pi * (time + uniform(generator)))
    mirror = -1.0 if float(uniform(generator)) < 0.5 else 1.0
    theta = torch.zeros(frames, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 1, 1] = mirror * half_x * breath, half_y * breath
    theta[:, :, 2] = centre
    return F.affine_grid(theta, [frames, 1, size, size], align_corners=False)


def _box(mask_SS: Tensor, side: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of a mask with a margin, within the picture."""
    rows, columns = mask_SS.any(dim=1).nonzero(), mask_SS.any(dim=0).nonzero()
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    left, right = int(columns[0]), int(columns[-1]) + 1
    across = _MARGIN_PIXELS + round(_MARGIN_SHARE * (right - left))
    along = _MARGIN_PIXELS + round(_MARGIN_SHARE * (bottom - top))
    return (
        max(0, left - across),
        max(0, top - along),
        min(side, right + across),
        min(side, bottom + along),
    )


def _emptiest(
    generator: torch.Generator, owner_SS: Tensor, size: tuple[int, int]
) -> tuple[int, int]:
    """(top, left) of the emptiest of a few random windows."""
    side = owner_SS.shape[-1]
    places = [
        (_integer(generator, side - size[0] + 1), _integer(generator, side - size[1] + 1))
        for _ in range(_PLACES)
    ]
    return min(
        places,
        key=lambda at: int((owner_SS[at[0] : at[0] + size[0], at[1] : at[1] + size[1]] > 0).sum()),
    )


def _integer(generator: torch.Generator, high: int) -> int:
    return int(torch.randint(0, high, (), generator=generator, device=generator.device))
