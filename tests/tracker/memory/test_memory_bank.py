"""What a bank holds after a device had no memory left in the midst of writing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.tracker.little import LITTLE
from tracker.memory.bank import MemoryBank
from tracker.memory.records import Selection
from tracker.policy.robust_bank import RobustBank

CPU = torch.device("cpu")
SPATIAL = (1, LITTLE.grid_size**2, LITTLE.memory_dim)
POINTER = (1, LITTLE.hidden_dim)


class Uncopied(Tensor):
    """A tensor for whose copies there is no memory."""

    def to(self, *_: Any, **__: Any) -> Tensor:
        raise torch.OutOfMemoryError("no memory left")

    float = to


def write(bank: MemoryBank, frame: int, spatial_NLc: Tensor, pointer_NC: Tensor) -> None:
    slot_N, frame_N, yes, no = (np.array([each]) for each in (0, frame, True, False))
    if isinstance(bank, RobustBank):
        motion, facts = torch.full((1, 4, 5), float(frame)), bank.facts_K[[0]]
        chosen = Selection(no, yes, yes, yes)
        bank.remember(slot_N, frame_N, chosen, spatial_NLc, pointer_NC, motion, facts)
    else:
        bank.write(slot_N, frame_N, no, spatial_NLc, pointer_NC)


@pytest.mark.parametrize("failing", ["spatial", "pointer"])
@pytest.mark.parametrize("robust", [False, True])
def test_memory_that_ran_out_leaves_every_memory_as_it_was(robust: bool, failing: str) -> None:
    bank = RobustBank(LITTLE, 1, CPU, anchors=0) if robust else MemoryBank(LITTLE, 1, CPU)
    assert bank.allocate() == 0
    for frame in range(40):  # every column holds one
        write(bank, frame, torch.full(SPATIAL, frame), torch.full(POINTER, float(frame)))
    before = bank.copy(0)
    spatial, pointer = torch.full(SPATIAL, 40.0), torch.full(POINTER, 40.0)
    with pytest.raises(torch.OutOfMemoryError):
        write(
            bank,
            40,
            spatial.as_subclass(Uncopied) if failing == "spatial" else spatial,
            pointer.as_subclass(Uncopied) if failing == "pointer" else pointer,
        )
    after = bank.copy(0)
    assert torch.equal(before.spatial_FLc, after.spatial_FLc)
    assert torch.equal(before.pointer_PC, after.pointer_PC)
    assert np.array_equal(before.spatial_frame_F, after.spatial_frame_F)
