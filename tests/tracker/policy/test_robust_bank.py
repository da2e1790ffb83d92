"""Which frames a robust bank keeps and recalls."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.tracker.little import LITTLE
from tracker.config import PRESETS
from tracker.memory.bank import LARGEST_POINTER_AGE
from tracker.memory.records import Facts, Selection
from tracker.policy.robust_bank import RobustBank

MEBIBYTE = 2**20


def little_bank() -> RobustBank:
    return RobustBank(LITTLE, 2, torch.device("cpu"), anchors=3)


def remember(
    bank: RobustBank,
    slot: int,
    frame: int,
    *,
    prompt: bool = False,
    recent: bool = True,
    anchor: bool = False,
) -> None:
    """One frame whose memory and pointer are its number."""
    flags = [np.array([flag]) for flag in (prompt, recent, recent, anchor)]
    facts: Facts = bank.facts_K[[slot]]
    tokens = LITTLE.grid_size**2
    bank.remember(
        np.array([slot]),
        np.array([frame]),
        Selection(*flags),
        torch.full((1, tokens, LITTLE.memory_dim), float(frame)),
        torch.full((1, LITTLE.hidden_dim), float(frame)),
        torch.zeros(1, 4, 5),
        facts,
    )


def recalled(bank: RobustBank, slot: int, now: int) -> tuple[list[tuple[int, int]], list[int]]:
    """Frames with their temporal codes, and the frames of the pointers."""
    memory = bank.read(np.array([slot]), np.array([now]))
    frames = memory.spatial_NFLc[0, :, 0, 0].int().tolist()
    codes = memory.temporal_index_NF[0].tolist()
    return sorted(zip(frames, codes, strict=True)), sorted(
        memory.pointer_NPC[0, :, 0].int().tolist()
    )


def test_the_last_frames_are_recalled_in_order() -> None:
    bank = little_bank()
    slot = bank.allocate()
    remember(bank, slot, 0, prompt=True)
    for frame in range(1, 39):
        remember(bank, slot, frame)
    frames, pointers = recalled(bank, slot, 39)
    assert frames == [(0, 6), (33, 5), (34, 4), (35, 3), (36, 2), (37, 1), (38, 0)]
    assert pointers == [0, *range(24, 39)]


def test_frame_just_tracked_can_be_decided_again_with_what_was_known_before_it() -> None:
    bank = little_bank()
    slot = bank.allocate()
    remember(bank, slot, 0, prompt=True)
    for frame in range(1, 60):
        before = recalled(bank, slot, frame)
        remember(bank, slot, frame)
        assert recalled(bank, slot, frame) == before


def test_frame_decided_again_replaces_what_was_kept_of_it() -> None:
    bank = little_bank()
    slot = bank.allocate()
    remember(bank, slot, 0, prompt=True)
    remember(bank, slot, 1, anchor=True)
    remember(bank, slot, 2)
    remember(bank, slot, 2, recent=False)
    assert (bank.recent_frames(slot), bank.pointer_frames(slot)) == ((1,), (1,))
    remember(bank, slot, 1, recent=False)
    assert (bank.recent_frames(slot), bank.anchor_frames(slot)) == ((), ())
    remember(bank, slot, 3, anchor=True)
    remember(bank, slot, 3, prompt=True)
    assert bank.conditioning_frames(slot) == (0, 3)
    assert (bank.recent_frames(slot), bank.anchor_frames(slot)) == ((), ())


def test_frames_that_are_not_worth_it_overwrite_nothing() -> None:
    bank = little_bank()
    slot = bank.allocate()
    remember(bank, slot, 0, prompt=True)
    for frame in range(1, 12):
        remember(bank, slot, frame)
    before = recalled(bank, slot, 12)
    for frame in range(12, 400):
        remember(bank, slot, frame, recent=False)
    assert recalled(bank, slot, 400) == before


def test_anchors_have_the_code_of_prompts_and_the_oldest_goes() -> None:
    bank = little_bank()
    slot = bank.allocate()
    remember(bank, slot, 0, prompt=True)
    for frame in range(1, 40):
        remember(bank, slot, frame, anchor=frame % 10 == 0 or frame == 35)
    frames, _ = recalled(bank, slot, 40)
    assert frames[:4] == [(0, 6), (20, 6), (30, 6), (34, 5)]
    assert (35, 6) in frames
    assert (35, 4) in frames
    assert bank.anchor_frames(slot) == (20, 30, 35)


def test_going_back_forgets_what_followed_and_keeps_what_was_said() -> None:
    bank = little_bank()
    slot = bank.allocate()
    remember(bank, slot, 0, prompt=True)
    for frame in range(1, 9):
        remember(bank, slot, frame, anchor=frame in (3, 7))
    remember(bank, slot, 9, prompt=True)
    bank.forget_recent_after(slot, 4)
    assert bank.conditioning_frames(slot) == (0, 9)
    assert bank.anchor_frames(slot) == (3,)
    assert all(frame <= 4 for frame in bank.recent_frames(slot))


def test_slot_holds_again_what_it_held() -> None:
    bank = little_bank()
    slot, other = bank.allocate(), bank.allocate()
    for each in (slot, other):
        remember(bank, each, 0, prompt=True)
        for frame in range(1, 20):
            remember(bank, each, frame, anchor=frame % 7 == 0)
    bank.facts_K[slot]["hidden"] = 11
    copy, before = bank.copy(slot), recalled(bank, slot, 20)
    for frame in range(20, 50):
        remember(bank, slot, frame, anchor=True)
    bank.facts_K[slot]["hidden"] = 3
    bank.restore(slot, copy)
    assert recalled(bank, slot, 20) == before == recalled(bank, other, 20)
    assert bank.facts_K[slot]["hidden"] == 11


def test_released_slot_knows_nothing_of_its_former_object() -> None:
    bank = little_bank()
    slot = bank.allocate()
    bank.facts_K[slot]["hidden"] = 40
    bank.release(slot)
    assert bank.facts_K[bank.allocate()]["hidden"] == 0


def test_pointers_grow_no_older_than_their_bound() -> None:
    bank = little_bank()
    slot = bank.allocate()
    remember(bank, slot, 0, prompt=True)
    remember(bank, slot, 9)
    memory = bank.read(np.array([slot]), np.array([10**6]))
    assert memory.pointer_age_NP.tolist() == [[LARGEST_POINTER_AGE, LARGEST_POINTER_AGE]]


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("sam2")])
def test_bank_of_an_official_network_holds_at_most_8_mib_for_an_object(name: str) -> None:
    bank = RobustBank(PRESETS[name], 1, torch.device("meta"), anchors=3)
    assert 6 * MEBIBYTE < bank.bytes <= 8 * MEBIBYTE


def test_slots_of_a_batch_are_chosen_apart() -> None:
    bank = little_bank()
    one, two = bank.allocate(), bank.allocate()
    remember(bank, one, 0, prompt=True)
    remember(bank, two, 5, prompt=True)
    for frame in range(6, 20):
        remember(bank, one, frame)
        remember(bank, two, frame, recent=frame < 8)
    memory = bank.read(np.array([one, two]), np.array([20, 20]))
    assert memory.frame_valid_NF is not None
    frames = memory.spatial_NFLc[:, :, 0, 0].int()
    kept = [row[valid].tolist() for row, valid in zip(frames, memory.frame_valid_NF, strict=True)]
    assert kept == [[0, 19, 18, 17, 16, 15, 14], [5, 7, 6]]
