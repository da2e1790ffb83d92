"""Windows of the image trunk, whole and cut off by the picture's edge."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from tests.tracker.pretended.device import pretended_cuda
from tracker.model.hiera import halve, plus_windows, to_windows


@pytest.mark.parametrize(("height", "width"), [(8, 12), (8, 10), (7, 12), (9, 5)])
def test_windows_go_back_where_they_came_from(height: int, width: int) -> None:
    grid = torch.randn(2, height, width, 3)
    windows = to_windows(grid, 4)
    assert windows.shape == (2 * -(-height // 4) * -(-width // 4), 4, 4, 3)
    assert windows.is_contiguous()
    found = plus_windows(grid, 2 * windows)
    assert found.is_contiguous()
    torch.testing.assert_close(found, 3 * grid)


def test_tokens_beyond_the_edge_are_zero() -> None:
    windows = to_windows(torch.ones(1, 5, 4, 1), 4)
    assert windows[1, 1:].count_nonzero() == 0
    assert windows.sum() == 5 * 4


def test_a_device_pools_without_indices_to_the_same_maxima() -> None:
    grid = torch.randn(2, 6, 8, 3)
    expected = F.max_pool2d(grid.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    assert torch.equal(halve(grid), expected)
    with pretended_cuda(1), torch.inference_mode():
        assert torch.equal(halve(grid.to("cuda:1")).cpu(), expected)
