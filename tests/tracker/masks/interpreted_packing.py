"""Compares the Triton kernel that packs masks with PyTorch's operations, under the interpreter.

A program of its own: the interpreter is chosen by the environment before triton is imported.
"""

from __future__ import annotations

import torch

from tracker.masks.packing import _by_operations, bit_places
from tracker.masks.triton_packing import pack_masks

SIZES = [(50, 61), (9, 300), (64, 8), (33, 17), (20, 20)]

if __name__ == "__main__":
    logits = torch.randn(len(SIZES), 1, 16, 16, generator=torch.Generator().manual_seed(0))
    logits[1] -= 1
    logits[3] = -1.0  # an empty mask
    logits[4] = 1.0  # a full one
    heights, widths = ([size[axis] for size in SIZES] for axis in (0, 1))
    places = torch.from_numpy(bit_places(SIZES))
    ours, theirs = (pack(logits, places, heights, widths) for pack in (pack_masks, _by_operations))
    assert torch.equal(ours[1], theirs[1]), (ours[1], theirs[1])
    assert torch.equal(ours[0], theirs[0]), (ours[0] != theirs[0]).sum()
    print(ours[1].tolist())
