"""Masks that are upsampled, packed and measured at once are those of the single operations."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from tracker.images.transforms import resize_logits
from tracker.masks.bits import cut_bits
from tracker.masks.packing import bit_places, boxes_and_areas, masks_of, pack_masks

SIZES = [(50, 61), (9, 300), (7, 8)]


def test_masks_of_different_sizes_come_back_with_their_boxes() -> None:
    logits = torch.randn(3, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    logits[2] = -1.0
    heights, widths = zip(*SIZES, strict=True)
    bits, measures = pack_masks(logits, torch.from_numpy(bit_places(SIZES)), heights, widths)
    found = boxes_and_areas(measures.numpy(), heights, widths)
    for own, packed, (*box, area), size in zip(
        logits, masks_of(bits.numpy(), SIZES), found.tolist(), SIZES, strict=True
    ):
        mask = resize_logits(own[None], *size)[0, 0].numpy() > 0
        whole = cut_bits(packed, (0, 0, size[1], size[0]))
        np.testing.assert_array_equal(whole, mask)
        assert area == np.count_nonzero(mask)
        rows, columns = np.nonzero(mask)
        expected = [0] * 4
        if area:
            expected = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        assert box == expected


def test_the_kernel_packs_the_same_under_the_interpreter() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.tracker.masks.interpreted_packing"],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"OMP_NUM_THREADS": "1", "TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
