"""Compares the Triton kernels with plain torch, under Triton's interpreter; a program of its own.

The interpreter is chosen by the environment before triton is imported.
"""

from __future__ import annotations

import torch

from tests.tracker.agreement.scripts import SMALL, SMALL_EDGETAM, model_with, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tests.tracker.little import LITTLE
from tracker import ModelConfig
from tracker.engine.attention_choice import by_triton
from tracker.engine.device_attention import DeviceAttention
from tracker.engine.device_trunk import FUSED
from tracker.engine.triton_attention import Blocks, attend
from tracker.memory.places import Recollection
from tracker.model.memory_attention import FrameState

BLOCKS = Blocks(queries=16, keys=16, warps=4, stages=1)
DRAWN = torch.Generator().manual_seed(0)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=DRAWN)


def largest_difference(
    dtype: torch.dtype,
    length: int,
    spatial: int,
    plain: int,
    counts: list[tuple[int, int]],
    splits: int,
    narrow: int = 16,
) -> float:
    """Of rows with so many real keys (spatial and plain); no counts: all are."""
    rows = max(len(counts), 2)
    query, key = (random(rows, each, 32).to(dtype) for each in (length, spatial + plain))
    value = random(rows, spatial + plain, narrow).to(dtype)
    scores = query.float() @ key.float().transpose(1, 2) * 32**-0.5
    for row, (first, last) in enumerate(counts):
        scores[row, :, first:spatial] = scores[row, :, spatial + last :] = -torch.inf
    expected = scores.softmax(dim=2) @ value.float()
    real = torch.tensor(counts, dtype=torch.int32) if counts else None
    ours = attend(query, key, value, plain, real, BLOCKS, splits)
    assert ours.dtype == dtype
    return float((ours.float() - expected).abs().max())


def network_difference(dtype: torch.dtype, counted: bool) -> float:
    """Of the whole of memory attention, relative to its largest value."""
    config = LITTLE.replaced(memory_attention_layers=2)
    model = model_with(config, amplified_weights(shapes_of(config), seed=1))
    grid, length = config.grid_size, config.memory_tokens
    stride16 = random(2, config.hidden_dim, grid, grid)
    valid = torch.tensor([[True, True, True], [True, False, False]])
    remembered = Recollection(
        random(2, 3, length, config.memory_dim),
        torch.tensor([[6, 0, 3], [6, 0, 0]]),
        random(2, 3, config.hidden_dim),
        torch.tensor([[1, 2, 3], [200, 0, 0]]),
        valid if counted else None,
        valid if counted else None,
    )
    with torch.inference_mode():
        begun = model.begin_attention(stride16)
        expected = model.attend_memory(begun, model.memory_tokens(*remembered))
        for part in model.memory_attention.modules():
            if isinstance(part, torch.nn.Linear):
                part.to(dtype)
        kernels = {1: by_triton(BLOCKS, 1), 2: by_triton(BLOCKS, 2)}
        ours = DeviceAttention(model, kernels, kernels)
        found = ours.attend(FrameState(*ours.begin(stride16)), remembered)
    assert found.dtype == torch.float32
    return float((found - expected).abs().max() / expected.abs().max())


def trunk_difference(config: ModelConfig, batch: int, dtype: torch.dtype) -> float:
    """Of a trunk's maps, relative to the largest; windows of Hiera lie beyond its edge too."""
    model = model_with(config, amplified_weights(shapes_of(config), seed=1))
    trunk = model.image_encoder.trunk
    image = random(batch, 3, 128, 96)
    with torch.inference_mode():
        expected = trunk(image)
        model.image_encoder.store_throughout(dtype)
        found = FUSED[type(trunk)](trunk, image.to(dtype))
    assert all(own.shape == other.shape for own, other in zip(found, expected, strict=True))
    return max(
        float((own.float() - other).abs().max() / other.abs().max())
        for own, other in zip(found, expected, strict=True)
    )


if __name__ == "__main__":
    counts = [(40, 6), (16, 1), (17, 0)]
    for case in (
        (torch.float32, 16, 32, 0, [], 1),
        (torch.float32, 21, 48, 8, [], 1),
        (torch.float32, 20, 40, 6, counts, 1),
        (torch.float16, 20, 40, 6, counts, 1),
        (torch.float32, 21, 48, 8, [], 3),
        (torch.float32, 20, 40, 6, counts, 4),
        (torch.float32, 21, 48, 0, [], 2, 32),
    ):
        limit = 2e-6 if case[0] == torch.float32 else 4e-3
        difference = largest_difference(*case)
        assert difference < limit, (case, difference)
        print(*case, difference)
    for dtype, counted, limit in (
        (torch.float32, False, 5e-6),
        (torch.float32, True, 5e-6),
        (torch.float16, True, 1e-2),
    ):
        difference = network_difference(dtype, counted)
        assert difference < limit, (dtype, counted, difference)
        print(dtype, counted, difference)
    for config in (SMALL, SMALL_EDGETAM):
        for batch, dtype, limit in ((2, torch.float32, 5e-6), (1, torch.float16, 2e-2)):
            difference = trunk_difference(config, batch, dtype)
            assert difference < limit, (config.name, batch, dtype, difference)
            print(config.name, batch, dtype, difference)
