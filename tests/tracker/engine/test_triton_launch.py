"""Kernels run where they are launched, unless they are only compiled."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tracker.engine.triton_launch import compiled_together, launch


class Kernel:
    """Notes its launches."""

    def __init__(self) -> None:
        self.only_compiled: list[bool] = []

    def run(self, *args: Any, grid: tuple[int, ...], warmup: bool, num_warps: int) -> None:
        assert args[1:] == (5,)
        assert (grid, num_warps) == ((3,), 8)
        self.only_compiled.append(warmup)


def test_within_compiled_together_nothing_runs() -> None:
    kernel, place = Kernel(), torch.zeros(2)

    def launched() -> None:
        launch(kernel, (3,), place, 5, num_warps=8)

    launched()
    with compiled_together():
        launched()
    with pytest.raises(RuntimeError, match="no driver"), compiled_together():
        raise RuntimeError("no driver")
    launched()
    assert kernel.only_compiled == [False, True, False]
