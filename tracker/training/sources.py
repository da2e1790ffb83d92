"""How often each source of pictures is drawn: by its size, with a floor.

Eighteen photographs of fruit must not weigh as much as seven hundred of people, and are not lost
among them either.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

FLOOR = 0.03
"""The least share of a source, before the shares are made to add up to 1."""


def shares(groups: Sequence[tuple[int, int]]) -> list[float]:
    """How often each group is drawn; a group is the half-open range of its items."""
    sizes = [last - first for first, last in groups]
    raised = [max(size / sum(sizes), FLOOR) for size in sizes]
    return [share / sum(raised) for share in raised]


def draw_group(groups: Sequence[tuple[int, int]], generator: torch.Generator) -> int:
    """The index of a group."""
    device = generator.device
    weights = torch.tensor(shares(groups), device=device)
    return int(torch.multinomial(weights, 1, generator=generator))


def draw_item(group: tuple[int, int], generator: torch.Generator) -> int:
    """An item of a group, all alike."""
    first, last = group
    return int(torch.randint(first, last, (), generator=generator, device=generator.device))
