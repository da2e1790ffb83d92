"""Compares the Triton kernel with plain torch, under Triton's interpreter; a program of its own.

The interpreter is chosen by the environment before triton is imported.
"""

from __future__ import annotations

import torch

from tracker.engine.triton_attention import Blocks, attend_narrow

BLOCKS = Blocks(queries=16, keys=16, warps=4, stages=1)


def largest_difference(
    dtype: torch.dtype, length: int, spatial: int, plain: int, counts: list[tuple[int, int]]
) -> float:
    """Of rows with so many real keys (spatial and plain); no counts: all are."""
    generator = torch.Generator().manual_seed(length + spatial)
    rows = max(len(counts), 2)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator).to(dtype)

    query, key = random(rows, length, 32), random(rows, spatial + plain, 32)
    value = random(rows, spatial + plain, 16)
    valid = None
    if counts:
        valid = torch.zeros(rows, spatial + plain, dtype=torch.bool)
        for row, (first, last) in enumerate(counts):
            valid[row, :first] = valid[row, spatial : spatial + last] = True
    scores = query.float() @ key.float().transpose(1, 2) * 32**-0.5
    if valid is not None:
        scores = scores.masked_fill(~valid[:, None], -torch.inf)
    expected = scores.softmax(dim=2) @ value.float()
    ours = attend_narrow(query, key, value, plain, valid, BLOCKS)
    assert ours.dtype == dtype
    return float((ours.float() - expected).abs().max())


if __name__ == "__main__":
    for case in (
        (torch.float32, 16, 32, 0, []),
        (torch.float32, 21, 48, 8, []),
        (torch.float32, 20, 40, 6, [(40, 6), (16, 1), (17, 0)]),
        (torch.float16, 20, 40, 6, [(40, 6), (16, 1), (17, 0)]),
    ):
        limit = 2e-6 if case[0] == torch.float32 else 4e-3
        difference = largest_difference(*case)
        assert difference < limit, (case, difference)
        print(*case, difference)
