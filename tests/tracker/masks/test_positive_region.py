"""Masks upsampled only where positive equal those of the whole frame."""

from __future__ import annotations

import pytest
import torch

from tracker.images.transforms import resize_logits
from tracker.masks.masks import boxes_of
from tracker.masks.positive_region import positive_region

ROUNDING = 1e-5


def _blob(seed: int, size: int, cells: int) -> torch.Tensor:
    """Logits below zero but for a few cells, some of them at the edges."""
    generator = torch.Generator().manual_seed(seed)
    logits = -torch.rand(size, size, generator=generator) * 5 - 0.01
    places = torch.randint(0, size, (cells, 2), generator=generator)
    logits[places[:, 0], places[:, 1]] = torch.rand(cells, generator=generator) * 30
    return logits


@pytest.mark.parametrize(
    ("height", "width"), [(360, 640), (359, 641), (1080, 1920), (64, 64), (37, 50), (5, 7), (1, 1)]
)
@pytest.mark.parametrize("cells", [0, 1, 2, 40])
def test_the_region_contains_the_mask_of_the_whole_frame(
    height: int, width: int, cells: int
) -> None:
    for seed in range(8):
        logits = _blob(seed, 64, cells)
        region = positive_region(logits, height, width)
        whole = resize_logits(logits[None, None], height, width)[0, 0]
        placed = torch.zeros(height, width, dtype=torch.bool)
        rows, columns = region.mask_rr.shape
        placed[region.y : region.y + rows, region.x : region.x + columns] = region.mask_rr

        differ = placed != (whole > 0)
        assert not differ.any() or float(whole[differ].abs().max()) < ROUNDING
        assert region.area() == int(placed.sum())
        assert region.box_14().tolist() == boxes_of(placed[None]).tolist()
        ((x0, y0, x1, y1),) = region.box_14().tolist()
        assert torch.equal(region.cut((x0, y0, x1, y1)), placed[y0:y1, x0:x1])


def test_mask_that_fills_the_grid_fills_the_frame() -> None:
    region = positive_region(torch.ones(64, 64), 90, 160)
    assert region.box_14().tolist() == [[0, 0, 160, 90]]
    assert region.area() == 90 * 160
