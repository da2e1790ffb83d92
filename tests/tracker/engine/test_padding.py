"""Rows are split into chunks of fixed sizes, with little padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tracker.engine.padding import chunk_sizes, padded_chunks
from tracker.model import chunking
from tracker.model.chunking import join
from tracker.options import EngineOptions

SIZES = (1, 2, 4, 8, 16, 32, 64)


@pytest.mark.parametrize(
    ("count", "chunks"),
    [
        (1, (1,)),
        (3, (4,)),
        (5, (4, 1)),
        (7, (8,)),
        (9, (8, 1)),
        (13, (8, 4, 1)),
        (64, (64,)),
        (65, (64, 1)),
        (200, (64, 64, 64, 8)),
    ],
)
def test_chunks_are_few_and_hold_little_padding(count: int, chunks: tuple[int, ...]) -> None:
    assert chunk_sizes(count, SIZES) == chunks


@given(st.integers(1, 300))
def test_every_row_is_in_one_chunk_and_padding_repeats_the_last(count: int) -> None:
    chunks = padded_chunks(count, SIZES)
    assert np.array_equal(
        np.concatenate([chunk.row_R[: chunk.real] for chunk in chunks]), np.arange(count)
    )
    assert all(len(chunk.row_R) in SIZES for chunk in chunks)
    assert all(chunk.real == len(chunk.row_R) for chunk in chunks[:-1])
    assert (chunks[-1].row_R[chunks[-1].real :] == count - 1).all()
    assert sum(len(chunk.row_R) for chunk in chunks) <= 4 / 3 * count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"row_sizes": (2, 4)}, "row_sizes must begin with 1 and increase"),
        ({"image_sizes": ()}, "image_sizes must begin with 1 and increase"),
        ({"row_sizes": (1, 4, 2)}, "row_sizes must begin with 1 and increase"),
        ({"fixed_shapes": "yes"}, "fixed_shapes must be one of auto, on, off, got 'yes'"),
        ({"attention": "fast"}, "attention must be one of auto, sdpa, triton, got 'fast'"),
        ({"most_graphs": 0}, "most_graphs must be at least 1, got 0"),
    ],
)
def test_invalid_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EngineOptions(**options)


@pytest.mark.parametrize("sizes", [(7, 1), (1, 7), (1, 1), (4, 3), (5,)])
@pytest.mark.parametrize("tokens_first", [True, False])
def test_joined_maps_are_the_rows_in_order_in_the_same_layout(
    sizes: tuple[int, ...], tokens_first: bool
) -> None:
    tokens = torch.rand(sum(sizes), 4 * 4, 6)

    def as_map(tokens_RLC: torch.Tensor) -> torch.Tensor:
        made = tokens_RLC.transpose(1, 2).unflatten(2, (4, 4))
        return made if tokens_first else made.contiguous()

    found = join([as_map(own.clone()) for own in tokens.split(sizes)])
    assert torch.equal(found, as_map(tokens))
    assert found.stride() == as_map(tokens).stride()


def test_objects_in_chunks_have_the_layout_of_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens_NLC = torch.rand(5, 4 * 4, 6)

    def as_map(some_NLC: torch.Tensor) -> tuple[torch.Tensor]:
        return (some_NLC.clone().transpose(1, 2).unflatten(2, (4, 4)),)

    (together,) = as_map(tokens_NLC)
    monkeypatch.setattr(chunking, "_CHUNK_BYTES", 4)  # one object at a time
    with torch.inference_mode():
        (found,) = chunking.objects_in_chunks(as_map, 1, tokens_NLC)
    assert torch.equal(found, together)
    assert found.stride() == together.stride()
