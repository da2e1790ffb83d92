"""Compiles Triton kernels for a Hopper GPU that need not be there; a program of its own."""

from __future__ import annotations

import torch
from triton.runtime import driver

from benchmarks.compiled_kernels import SHARED_BYTES, Device, attention, compiled, others
from tracker.engine.attention_choice import BLOCKS
from tracker.engine.triton_launch import compiled_together
from tracker.engine.triton_rows import _rotate, rotated

TARGET = 90

if __name__ == "__main__":
    split = attention(BLOCKS[0], 64, split=True)
    for kernel in (split, *others()):
        usage = compiled(kernel, TARGET)
        assert usage.spilled_bytes == 0, (kernel.name, usage.spilled_bytes)
        assert usage.shared_bytes <= SHARED_BYTES[TARGET], (kernel.name, usage.shared_bytes)
        if kernel is split:
            assert "wgmma" in usage.assembly  # the products of its matrix units
        print(kernel.name, *usage[:3])
    driver.set_active(Device(TARGET))
    with compiled_together():
        for parts in (1, 2):
            rotated(torch.zeros(1, 16, parts, 64), torch.zeros(16, 64))
    kernels = _rotate.device_caches[0][0].values()
    assert sorted(each.metadata.target.arch for each in kernels) == [TARGET] * 2
    print("together", len(kernels))
