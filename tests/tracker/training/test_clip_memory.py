"""Memories of a clip: each object's visible frames, whatever lies between."""

from __future__ import annotations

import torch

from tracker.config import ModelConfig
from tracker.model.sam2 import Sam2
from tracker.training.clip_memory import ClipMemory


def remembered(config: ModelConfig, visible: list[list[bool]]) -> ClipMemory:
    """Frames whose memories are full of their own number; the next frame is the one after."""
    memory = ClipMemory(list(range(len(visible) + 1)))
    for frame, seen in enumerate(visible):
        shape = (len(seen), config.grid_size**2, config.memory_dim)
        memory.spatial_NLc.append(torch.full(shape, float(frame)))
        memory.pointer_NC.append(torch.full((len(seen), config.hidden_dim), float(frame)))
        memory.visible_N.append(torch.tensor(seen))
    return memory


def test_absent_frames_take_no_room(tiny_config: ModelConfig) -> None:
    model = Sam2(tiny_config)
    visible = [[True, True], [True, False], [False, True], [False, True], [True, False]]
    memory = remembered(tiny_config, visible)
    tokens = memory.tokens_in_sight(model, [1, 2, 3, 4])
    of_frame = tokens.spatial_NMc[:, :: tiny_config.grid_size**2, 0]
    # The prompted frame, then the newest first.
    assert of_frame.tolist() == [[0.0, 4.0, 1.0], [0.0, 3.0, 2.0]]
    pieces = tiny_config.pointer_tokens
    assert tokens.pointer_NPc[:, ::pieces, 0].tolist() == of_frame.tolist()


def test_missing_memories_are_replaced_by_the_prompted_frame(
    tiny_config: ModelConfig,
) -> None:
    model = Sam2(tiny_config)
    memory = remembered(tiny_config, [[True, True], [True, False], [True, False]])
    tokens = memory.tokens_in_sight(model, [1, 2])
    length = tiny_config.grid_size**2
    assert tokens.spatial_NMc[1, ::length, 0].tolist() == [0.0, 0.0, 0.0]
    codes = tokens.spatial_code_NMc[1].unflatten(0, (3, length))
    assert torch.equal(codes[0], codes[1])
    assert torch.equal(codes[0], codes[2])


def test_both_rules_agree_without_absences(tiny_config: ModelConfig) -> None:
    model = Sam2(tiny_config)
    memory = remembered(tiny_config, [[True], [True], [True]])
    plain, chosen = memory.tokens(model, [1, 2]), memory.tokens_in_sight(model, [1, 2])
    length = tiny_config.grid_size**2
    order = [0, 2, 1]
    for name in ("spatial_NMc", "spatial_code_NMc"):
        expected = getattr(plain, name).unflatten(1, (3, length))[:, order].flatten(1, 2)
        assert torch.allclose(getattr(chosen, name), expected), name
    pieces = tiny_config.pointer_tokens
    expected = plain.pointer_code_NPc.unflatten(1, (3, pieces))[:, order].flatten(1, 2)
    assert torch.allclose(chosen.pointer_code_NPc, expected)
