"""Prompts drawn from true masks, as a user would give them: boxes, clicks, corrections.

Coordinates are pixels of the training image. Deterministic by the generator.
Dimensions: N objects, S image side.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.model.prompt_encoder import BOX_FIRST, BOX_LAST, NEGATIVE, POSITIVE

_BOX_JITTER_SHARE = 0.08
_BOX_JITTER_PIXELS = 10.0


def boxes(masks_NSS: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Jittered boxes as two corner points: (N, 2, 2) and labels (N, 2)."""
    side = masks_NSS.shape[2]
    place = torch.arange(side, device=masks_NSS.device)
    columns, rows = masks_NSS.any(dim=1), masks_NSS.any(dim=2)

    def ends(occupied: Tensor) -> tuple[Tensor, Tensor]:
        first = torch.where(occupied, place, side).amin(dim=1)
        last = torch.where(occupied, place + 1, 0).amax(dim=1)
        return first, torch.maximum(last, first)

    x0, x1 = ends(columns)
    y0, y1 = ends(rows)
    corners = torch.stack((x0, y0, x1, y1), dim=1).float()
    extent = torch.stack((x1 - x0, y1 - y0), dim=1).repeat(1, 2).float()
    limit = (_BOX_JITTER_SHARE * extent).clamp(max=_BOX_JITTER_PIXELS)
    noise = torch.rand(corners.shape, generator=generator, device=generator.device) * 2 - 1
    jittered = (corners + limit * noise).clamp(0, side)
    labels = torch.tensor([BOX_FIRST, BOX_LAST], device=masks_NSS.device)
    return jittered.unflatten(1, (2, 2)), labels.expand(len(masks_NSS), 2)


def clicks(masks_NSS: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One positive click inside each mask, away from its border if possible."""
    return _draw_points(_inside(masks_NSS), generator), _labels(masks_NSS, POSITIVE)


def corrections(
    predicted_NSS: Tensor, masks_NSS: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """One click in the false negatives (positive) or false positives (negative), the larger."""
    missed, excess = masks_NSS & ~predicted_NSS, predicted_NSS & ~masks_NSS
    is_missed = missed.sum(dim=(1, 2)) >= excess.sum(dim=(1, 2))
    error = torch.where(is_missed[:, None, None], missed, excess)
    # No error: a click on the object confirms it.
    right = ~error.any(dim=2).any(dim=1)
    error = torch.where(right[:, None, None], masks_NSS, error)
    labels = torch.where(is_missed | right, POSITIVE, NEGATIVE).unsqueeze(1)
    return _draw_points(_inside(error), generator), labels


def _labels(masks_NSS: Tensor, label: int) -> Tensor:
    return torch.full((len(masks_NSS), 1), label, device=masks_NSS.device)


def _inside(masks_NSS: Tensor) -> Tensor:
    """Weights of pixels to click on: 1 at least two pixels from the border, little elsewhere."""
    inverse = (~masks_NSS).float().unsqueeze(1)
    eroded = F.max_pool2d(inverse, 5, stride=1, padding=2).squeeze(1) == 0
    return eroded.float() + 0.02 * masks_NSS.float()


def _draw_points(weight_NSS: Tensor, generator: torch.Generator) -> Tensor:
    side = weight_NSS.shape[2]
    # An empty mask has no pixel to draw; any will do, since the object does not count.
    flat = weight_NSS.flatten(1) + 1e-9
    pixel = torch.multinomial(flat, 1, generator=generator)
    return torch.stack((pixel % side, pixel // side), dim=2).float()
