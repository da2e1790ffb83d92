"""Batched mask operations: filling holes, exclusive pixels, boxes.

Dimensions: n objects of one stream, N objects of all streams, h w any grid.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

HOLE_LOGIT = 0.1


def fill_holes(logits_N1hw: Tensor, largest_area: int) -> Tensor:
    """Set background components of at most ``largest_area`` cells (8-connected) to just inside.

    Batched and without host synchronisation: every background cell takes the largest index within
    ``largest_area`` steps, which labels small components completely. A group of equal labels is a
    whole component if no background neighbour has another label.
    """
    if largest_area <= 0:
        return logits_N1hw
    count, _, height, width = logits_N1hw.shape
    background = logits_N1hw <= 0
    cells = height * width
    # float64 holds every index exactly, and max pooling supports it.
    index = torch.arange(1, cells + 1, device=logits_N1hw.device, dtype=torch.float64)
    label = torch.where(background, index.view(1, 1, height, width), 0.0)
    for _ in range(largest_area):
        label = torch.where(background, F.max_pool2d(label, 3, stride=1, padding=1), 0.0)
    # A foreground neighbour counts as no other label, hence +inf before taking the minimum.
    lowest = -F.max_pool2d(-torch.where(background, label, float("inf")), 3, stride=1, padding=1)
    highest = F.max_pool2d(label, 3, stride=1, padding=1)
    open_edge = (background & ((lowest != label) | (highest != label))).flatten(1).float()

    group = label.flatten(1).long()
    shape = (count, cells + 1)
    area = torch.zeros(shape, device=label.device).scatter_add_(
        1, group, torch.ones_like(open_edge)
    )
    edges = torch.zeros(shape, device=label.device).scatter_add_(1, group, open_edge)
    small = ((area <= largest_area) & (edges == 0)).gather(1, group).view_as(background)
    return torch.where(background & small, HOLE_LOGIT, logits_N1hw)


def without_overlap(logits_n1hw: Tensor) -> Tensor:
    """Give every pixel to the strongest object of the stream; set the others to at most -10."""
    owner_1hw = logits_n1hw.argmax(dim=0)
    rank_n1 = torch.arange(logits_n1hw.shape[0], device=logits_n1hw.device).view(-1, 1, 1, 1)
    return torch.where(owner_1hw == rank_n1, logits_n1hw, logits_n1hw.clamp(max=-10.0))


def boxes_of(mask_nhw: Tensor) -> Tensor:
    """Half-open boxes (n, 4) int64 x0 y0 x1 y1 of boolean masks; all zero for an empty mask."""
    height, width = mask_nhw.shape[1:]
    # The maximum of bytes: PyTorch's any() takes 40 times as long on a CPU.
    bytes_nhw = mask_nhw.view(torch.uint8)
    columns, rows = bytes_nhw.amax(dim=1), bytes_nhw.amax(dim=2)
    x0, y0 = columns.argmax(dim=1), rows.argmax(dim=1)
    x1 = width - columns.flip(1).argmax(dim=1)
    y1 = height - rows.flip(1).argmax(dim=1)
    return torch.stack((x0, y0, x1, y1), dim=1) * columns.amax(dim=1, keepdim=True)
