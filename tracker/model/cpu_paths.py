"""Which of several equal ways a processor computes by; ``engine.path_choice`` measures them.

A choice holds inside a ``with`` block and for one thread, like autocast. Results agree up to
float32 rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch

Library = Literal["mkl", "onednn"]

ONEDNN_IS_HERE = torch.backends.mkldnn.is_available() and hasattr(
    torch.ops.mkldnn, "_linear_pointwise"
)


class AttentionPath(NamedTuple):
    """PyTorch's fused kernel, or products of chunks by a library: ``queries`` × ``keys`` each.

    MKL takes more keys where there are fewer queries.
    """

    library: Literal["fused", "mkl", "onednn"]
    queries: int = 0
    keys: int = 0

    def __str__(self) -> str:
        return f"{self.library} {self.queries}x{self.keys}" if self.queries else self.library


FUSED = AttentionPath("fused")
# Scores of 2 and 4 MiB: the best of 64 to 1,024 queries and 512 to 28,736 keys on processors with
# 256-bit and 512-bit units.
BY_MKL = AttentionPath("mkl", 512, 1024)
BY_ONEDNN = AttentionPath("onednn", 512, 2048)


@dataclass(frozen=True, slots=True)
class CpuPaths:
    """``linear``: layers and 1×1 convolutions. ``narrow``: attention to memories, whose values are
    narrower than the keys. ``wide``: all other attention of many tokens.
    """

    linear: Library
    narrow: AttentionPath
    wide: AttentionPath


# Until something is measured: with 512-bit units oneDNN is faster on an AMD, and never much slower.
_UNMEASURED = (
    CpuPaths("onednn", BY_ONEDNN, BY_ONEDNN)
    if ONEDNN_IS_HERE and torch.backends.cpu.get_cpu_capability() == "AVX512"
    else CpuPaths("mkl", BY_MKL, FUSED)
)
_current: ContextVar[CpuPaths] = ContextVar("cpu_paths", default=_UNMEASURED)


def current() -> CpuPaths:
    """The paths in use in this thread."""
    return _current.get()


@contextmanager
def using(paths: CpuPaths | None) -> Iterator[None]:
    """Compute by these paths; None: by those already in use."""
    if paths is None:
        yield
        return
    token = _current.set(paths)
    try:
        yield
    finally:
        _current.reset(token)
