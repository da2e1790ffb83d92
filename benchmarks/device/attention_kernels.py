"""Attention kernels alone at SAM 2's sizes: ours in every form, and PyTorch's backends.

Cross-attention has seven memories' keys of 256 channels and values of 64; of PyTorch's backends
most take values as wide as the keys only, as they are without narrow values.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.device.record import Record
from benchmarks.device.scale import Scale
from benchmarks.device.timing import device_ms
from tracker.engine.attention_choice import BLOCKS, WIDE_BLOCKS
from tracker.engine.triton_attention import attend

_CHANNELS, _VALUES, _MEMORIES, _POINTER_KEYS = 256, 64, 7, 64
_ROWS = (1, 4, 16)
_SPLITS = (1, 2, 4, 8)
_BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


def run(scale: Scale, record: Record) -> None:
    """Measure what is not recorded yet; a kernel that refuses is recorded with its reason."""
    for rows in _ROWS if not scale.rehearsal else (1,):
        for name, call, flops in _calls(scale, rows):
            key = f"{name} {rows} rows"
            if record.has(key):
                continue
            try:
                ms = device_ms(call, scale)
            except Exception as error:  # the table says which kernel refuses, and why
                record.add(key, refused=f"{type(error).__name__}: {error}"[:200])
            else:
                record.add(key, ms=round(ms, 4), tflops=round(flops / ms / 1e9, 2))


def _calls(scale: Scale, rows: int) -> list[tuple[str, Callable[[], Tensor], float]]:
    dtype = getattr(torch, scale.dtype)
    length, keys = scale.tokens, _MEMORIES * scale.tokens + _POINTER_KEYS

    def random(count: int, channels: int) -> Tensor:
        return torch.randn(rows, count, channels, device=scale.device, dtype=dtype)

    query, key = random(length, _CHANNELS), random(keys, _CHANNELS)
    narrow, wide = random(keys, _VALUES), random(keys, _CHANNELS)
    own = random(length, _CHANNELS)
    products = 2.0 * rows * length * keys * _CHANNELS
    narrow_flops = products * (1 + _VALUES / _CHANNELS)
    found: list[tuple[str, Callable[[], Tensor], float]] = []
    for name, blocks, value, own_flops in (
        ("", BLOCKS, narrow, narrow_flops),
        ("wide ", WIDE_BLOCKS, wide, 2 * products),
    ):
        found += [
            (
                f"triton {name}{block.queries}x{block.keys}/{splits}",
                partial(attend, query, key, value, _POINTER_KEYS, None, block, splits),
                own_flops,
            )
            for block in blocks
            for splits in (_SPLITS if rows == 1 else _SPLITS[:2])
            if scale.device != "cpu"
        ]
    for name, backend in _BACKENDS.items():
        if name == "math" and rows > 1:
            continue  # it writes all scores
        fused = partial(_fused, backend, query)
        found += [
            (f"{name} values {_CHANNELS}", partial(fused, key, wide), 2 * products),
            (f"{name} values {_VALUES}", partial(fused, key, narrow), narrow_flops),
            (f"{name} self", partial(fused, own, own), 2 * products * length / keys),
        ]
    return found


def _fused(backend: SDPBackend, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(query[:, None], key[:, None], value[:, None])
