"""The comparison is sensitive: each mistake planted in our tracker is caught.

The mistakes are those that are easily made when SAM 2 is written anew, most of them found in
public ports.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tracker.policy.decision
import tracker.step.deciding
from tests.tracker.agreement.comparison import (
    RELATIVE_TOLERANCE,
    ObservedTracker,
    Output,
    Scale,
    run_ours,
    run_reference,
)
from tests.tracker.agreement.scripts import SMALL, Frame, disc, model_with, picture, small_weights
from tracker import Prompt
from tracker.images import transforms
from tracker.model.layers import LayerNorm2d
from tracker.model.memory_attention import MemoryAttention

Plant = Callable[[ObservedTracker, pytest.MonkeyPatch], None]

OBJECT_SCORE_BIAS = -2.0
# Every kind of prompt, occlusions, and more frames than either window.
SCRIPT = [
    Frame(
        picture(0),
        [Prompt(1, ((150, 60),), (1,)), Prompt(2, mask=disc(60, 70, 25))],
    ),
    Frame(picture(1)),
    Frame(picture(2), corrections=[[Prompt(2, ((240, 240),), (0,))]]),
    *(Frame(picture(index % 7)) for index in range(3, 12)),
    Frame(picture(5), [Prompt(2, box_xyxy=(30, 40, 90, 120))]),
    *(Frame(picture(index % 7)) for index in range(13, 19)),
]
MISTAKES: dict[str, Plant] = {}


def mistake(plant: Plant) -> Plant:
    MISTAKES[plant.__name__.replace("_", " ")] = plant
    return plant


def set_epsilon(part: nn.Module, epsilon: float) -> None:
    for module in part.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = epsilon


@mistake
def trunk_norms_with_the_epsilon_of_the_decoder(ours: ObservedTracker, _: Any) -> None:
    set_epsilon(ours.model().image_encoder, 1e-5)


@mistake
def decoder_norms_with_the_epsilon_of_the_trunk(ours: ObservedTracker, _: Any) -> None:
    set_epsilon(ours.model().sam_mask_decoder, 1e-6)


@mistake
def memory_attention_norms_with_the_epsilon_of_the_trunk(ours: ObservedTracker, _: Any) -> None:
    set_epsilon(ours.model().memory_attention, 1e-6)


@mistake
def channel_norms_with_the_epsilon_of_the_decoder(
    _: ObservedTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(self: LayerNorm2d, x_BCHW: torch.Tensor) -> torch.Tensor:
        x_BHWC = x_BCHW.permute(0, 2, 3, 1)
        x_BHWC = F.layer_norm(x_BHWC, (x_BHWC.shape[3],), self.weight, self.bias, 1e-5)
        return x_BHWC.permute(0, 3, 1, 2)

    monkeypatch.setattr(LayerNorm2d, "forward", forward)


@mistake
def approximate_gelu(ours: ObservedTracker, _: Any) -> None:
    for module in ours.model().modules():
        if isinstance(module, nn.GELU):
            module.approximate = "tanh"


@mistake
def pointer_time_divided_by_16(ours: ObservedTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    code = ours.model().pointer_time_code
    monkeypatch.setattr(ours.model(), "pointer_time_code", lambda age: code(age * (15 / 16)))


@mistake
def one_pointer_fewer(ours: ObservedTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours._bank, "_pointer_window", 14)


@mistake
def pointers_only_as_far_back_as_memories(
    ours: ObservedTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ours._bank, "_pointer_window", 6)


@mistake
def five_recent_memories(ours: ObservedTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = ours._bank._choose

    def one_less(frames: Any, slots: Any, now: Any, window: int) -> Any:
        return choose(frames, slots, now, window - 1 if window == 6 else window)

    monkeypatch.setattr(ours._bank, "_choose", one_less)


@mistake
def temporal_codes_shifted_by_one(ours: ObservedTracker, _: Any) -> None:
    codes = ours.model().maskmem_tpos_enc
    codes.data = codes.data.roll(1, dims=0)


@mistake
def rotary_axes_swapped(ours: ObservedTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped() -> torch.Tensor:
        return torch.cat(table.chunk(2, dim=1)[::-1], dim=1)

    table = ours.model().rotation()
    monkeypatch.setattr(ours.model(), "rotation", swapped)


@mistake
def positions_added_to_values_too(_: ObservedTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = MemoryAttention.forward

    def coded(self: Any, frame: Any, memory: Any, *rotations: Any) -> Any:
        spatial = memory.spatial_NMc + memory.spatial_code_NMc
        silent = torch.zeros_like(memory.spatial_code_NMc)
        memory = memory._replace(spatial_NMc=spatial, spatial_code_NMc=silent)
        return forward(self, frame, memory, *rotations)

    monkeypatch.setattr(MemoryAttention, "forward", coded)


@mistake
def frame_position_not_scaled(ours: ObservedTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    position = ours.model().image_position()
    monkeypatch.setattr(ours.model(), "image_position", lambda: 10 * position)


@mistake
def no_embedding_for_the_first_prompt(ours: ObservedTracker, _: Any) -> None:
    ours.model().no_mem_embed.data.zero_()


@mistake
def pointer_of_an_occluded_object_kept(
    ours: ObservedTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    pointer = ours.model().object_pointer
    monkeypatch.setattr(
        ours.model(),
        "object_pointer",
        lambda token, visible: pointer(token, torch.ones_like(visible)),
    )


@mistake
def no_spatial_embedding_for_occluded_frames(ours: ObservedTracker, _: Any) -> None:
    ours.model().no_obj_embed_spatial.data.zero_()


@mistake
def logits_of_an_occluded_object_remembered(
    _: ObservedTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker.policy.decision, "ABSENT_LOGIT", -10.0)


@mistake
def points_not_moved_to_the_pixel_centre(
    _: ObservedTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_model = transforms.points_to_model
    monkeypatch.setattr(
        "tracker.sessions.prompts.points_to_model",
        lambda *arguments: to_model(*arguments) - np.float32(0.5),
    )


@mistake
def no_padding_point(ours: ObservedTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    encode = ours.model().encode_prompts

    def without(*arguments: Any) -> Any:
        prompt = encode(*arguments)
        return prompt._replace(sparse_NKC=prompt.sparse_NKC[:, :-1])

    monkeypatch.setattr(ours.model(), "encode_prompts", without)


@mistake
def previous_logits_not_fed_to_a_correction(
    ours: ObservedTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode = ours.model().encode_prompts

    def without(points: Any, labels: Any, logits: Any = None) -> Any:
        return encode(points, labels, None if labels.max() >= 0 else logits)

    monkeypatch.setattr(ours.model(), "encode_prompts", without)


@mistake
def clicked_frames_remembered_as_soft_masks(
    _: ObservedTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = tracker.policy.decision.decide
    monkeypatch.setattr(
        tracker.step.deciding,
        "decide",
        lambda model, output, ambiguous, _prompted: decide(model, output, ambiguous, False),
    )


@mistake
def a_box_answered_by_the_best_of_three(
    _: ObservedTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    decide = tracker.policy.decision.decide
    monkeypatch.setattr(
        tracker.step.deciding,
        "decide",
        lambda model, output, _ambiguous, prompted: decide(model, output, True, prompted),
    )


@mistake
def padding_tokens_of_windows_not_attended(
    _: ObservedTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Blind to them is the same as attending to copies of real tokens, to the eye of a softmax.
    def replicate(x: torch.Tensor, pad: Any, *_: Any) -> torch.Tensor:
        _, _, _, right, _, below = pad
        x = torch.cat((x, x[:, :, -1:].expand(-1, -1, right, -1)), dim=2)
        return torch.cat((x, x[:, -1:].expand(-1, below, -1, -1)), dim=1)

    class Functional:
        pad = staticmethod(replicate)
        max_pool2d = staticmethod(F.max_pool2d)
        interpolate = staticmethod(F.interpolate)
        scaled_dot_product_attention = staticmethod(F.scaled_dot_product_attention)

    monkeypatch.setattr("tracker.model.hiera.F", Functional)


@pytest.fixture(scope="module")
def theirs() -> list[Output]:
    weights = small_weights("2.1", OBJECT_SCORE_BIAS)
    return list(run_reference(SMALL, weights, SCRIPT))


def our_tracker() -> ObservedTracker:
    """With copies of the weights, as some mistakes write into them."""
    weights = small_weights("2.1", OBJECT_SCORE_BIAS)
    return ObservedTracker(
        model_with(SMALL, {name: value.clone() for name, value in weights.items()})
    )


def test_without_a_mistake_there_is_no_difference(theirs: list[Output]) -> None:
    scale = Scale(theirs)
    ours = run_ours(our_tracker(), SCRIPT)
    worst = max(scale.difference(own, other) for own, other in zip(ours, theirs, strict=True))
    assert worst < RELATIVE_TOLERANCE


@pytest.mark.parametrize("name", MISTAKES)
def test_planted_mistake_is_caught(
    name: str, theirs: list[Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = our_tracker()
    MISTAKES[name](ours, monkeypatch)
    scale = Scale(theirs)
    differences = (
        scale.difference(own, other)
        for own, other in zip(run_ours(ours, SCRIPT), theirs, strict=True)
    )
    # Stops at the frame that shows it.
    assert any(difference > 2 * RELATIVE_TOLERANCE for difference in differences)
