"""Packed masks unpack to the same, and a transfer keeps its arrays separate."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from tracker.host_arrays import apart, begin_transfer, side_by_side
from tracker.masks.bits import cut_bits, pack_bits


@given(st.integers(1, 40), st.integers(1, 40), st.data())
def test_a_box_is_cut_out_of_packed_rows(height: int, width: int, data: st.DataObject) -> None:
    mask = np.random.default_rng(height * width).random((2, height, width)) < 0.4
    packed = pack_bits(torch.from_numpy(mask)).numpy()
    assert np.array_equal(packed, np.packbits(mask, axis=2))
    x0, x1 = sorted(data.draw(st.tuples(st.integers(0, width), st.integers(0, width))))
    y0, y1 = sorted(data.draw(st.tuples(st.integers(0, height), st.integers(0, height))))
    cut = cut_bits(packed[1], (x0, y0, x1, y1))
    assert cut.dtype == np.bool_
    assert np.array_equal(cut, mask[1, y0:y1, x0:x1])


def test_arrays_of_all_types_share_a_transfer() -> None:
    tensors = [
        torch.arange(6, dtype=torch.float64).view(2, 3),
        torch.zeros(3, 0, 5, dtype=torch.uint8),
        torch.arange(35, dtype=torch.uint8).view(5, 7)[:, ::2],
        torch.arange(4, dtype=torch.float32) / 3,
        torch.tensor([True, False, True]),
    ]
    joined, begins = side_by_side(tensors)
    arrays = apart(joined.numpy(), begins, tensors)
    for array, tensor in zip(arrays, tensors, strict=True):
        assert array.dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(array, tensor.numpy())


def test_nothing_is_copied_on_a_cpu() -> None:
    tensor = torch.zeros(5)
    (array,) = begin_transfer([tensor], None).arrays()
    tensor += 1
    assert array.sum() == 5
