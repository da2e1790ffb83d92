"""How Triton kernels of the engine are launched, and how many are compiled at once before that.

A kernel is compiled when it is first launched, one after the other: a start launches some thirty.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import triton
from torch import Tensor

_only_compiling: ContextVar[bool] = ContextVar("_only_compiling", default=False)


def launch(kernel: Any, grid: tuple[int, ...], first: Tensor, *others: Any, **options: Any) -> None:
    """Launch a function of Triton with these arguments where the first of them is.

    Triton itself launches on the current device, wherever the tensors are.
    """
    with torch.cuda.device_of(first):
        kernel.run(first, *others, grid=grid, warmup=_only_compiling.get(), **options)


@contextmanager
def compiled_together() -> Iterator[None]:
    """Compile what is launched within, on all cores, and run none of it: results mean nothing.

    A kernel that does not compile is left for its launch, which raises.
    """
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        triton.AsyncCompileMode(pool, ignore_errors=True),
    ):
        before = _only_compiling.set(True)
        try:
            yield
        finally:
            _only_compiling.reset(before)
