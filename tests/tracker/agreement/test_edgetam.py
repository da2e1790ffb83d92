"""EdgeTAM: our tracker does what `transformers`' ``EdgeTamVideoModel`` does, and mistakes show.

The mistakes are those of EdgeTAM's own parts: trunk, perceiver, and keys on a grid of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import tracker.model.spatial_perceiver
import tracker.weights.repvit_layout
from tests.tracker.agreement.comparison import (
    RELATIVE_TOLERANCE,
    ObservedTracker,
    Output,
    Scale,
    run_ours,
    run_reference,
)
from tests.tracker.agreement.scripts import SMALL_EDGETAM, model_with, small_edgetam_weights
from tests.tracker.agreement.test_planted_mistakes import SCRIPT
from tests.tracker.agreement.test_streams import SCRIPTS, vanishes_and_returns
from tracker.model.repvit import ChannelMixer
from tracker.model.spatial_perceiver import CrossAttention, SpatialPerceiver
from tracker.options import EngineOptions


def our_tracker(*, corrections_condition: bool = False, fixed: bool = False) -> ObservedTracker:
    """With weights of its own, as some mistakes write into them."""
    weights = {name: value.clone() for name, value in small_edgetam_weights().items()}
    return ObservedTracker(
        model_with(SMALL_EDGETAM, weights),
        corrections_condition=corrections_condition,
        engine=EngineOptions(fixed_shapes="on") if fixed else None,
    )


@pytest.mark.parametrize(
    ("name", "fixed"),
    [
        ("points", False),
        ("boxes", False),
        ("masks", False),
        ("several conditioning frames", True),
        ("corrections that condition", False),
    ],
)
def test_tracker_agrees_with_transformers(name: str, fixed: bool) -> None:
    script = SCRIPTS[name]
    conditions = script.corrections_condition
    theirs = list(
        run_reference(
            SMALL_EDGETAM,
            small_edgetam_weights(),
            script.frames,
            corrections_condition=conditions,
        )
    )
    scale = Scale(theirs)
    ours = run_ours(our_tracker(corrections_condition=conditions, fixed=fixed), script.frames)
    differences = [scale.difference(own, other) for own, other in zip(ours, theirs, strict=True)]
    assert max(differences) < RELATIVE_TOLERANCE, differences
    visible = [frame[1].object_score_logit > 0 for frame in theirs if 1 in frame]
    assert vanishes_and_returns(visible), visible


Plant = Callable[[ObservedTracker, pytest.MonkeyPatch], None]
MISTAKES: dict[str, Plant] = {}


def mistake(plant: Plant) -> Plant:
    MISTAKES[plant.__name__.replace("_", " ")] = plant
    return plant


@mistake
def token_mixers_without_their_input(ours: ObservedTracker, _: Any) -> None:
    for name, module in ours.model().named_modules():
        if name.endswith("token_mixer"):
            module.weight.data[:, :, 1, 1] -= 1


@mistake
def every_block_scales_its_channels_or_none(ours: ObservedTracker, _: Any) -> None:
    for module in ours.model().modules():
        if hasattr(module, "se"):
            module.se = nn.Identity()


@mistake
def approximate_gelu_in_the_trunk(_: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def mix(self: ChannelMixer, x: torch.Tensor) -> torch.Tensor:
        hidden = nn.functional.gelu(self.conv1(x), approximate="tanh")
        return x + self.conv2(hidden)

    monkeypatch.setattr(ChannelMixer, "_mix", mix)


@mistake
def perceiver_norms_with_the_epsilon_of_the_channel_norms(ours: ObservedTracker, _: Any) -> None:
    for module in ours.model().spatial_perceiver.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = 1e-6


@mistake
def perceiver_codes_in_keys_only(_: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    attend = tracker.model.spatial_perceiver.attend
    forward = CrossAttention.forward

    def without(self: CrossAttention, latent: Any, token: Any, code: Any) -> torch.Tensor:
        def uncoded(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
            return attend(query, key, value if code is None else value - code)

        with monkeypatch.context() as patch:
            patch.setattr(tracker.model.spatial_perceiver, "attend", uncoded)
            return forward(self, latent, token, code)

    monkeypatch.setattr(CrossAttention, "forward", without)


@mistake
def windows_column_by_column(_: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = tracker.model.spatial_perceiver.windows
    monkeypatch.setattr(
        tracker.model.spatial_perceiver, "windows", lambda x, side: windows(x.mT, side)
    )


@mistake
def latents_without_a_place_rotated_too(
    ours: ObservedTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotation = ours.model().key_rotation().clone()
    rotation[:8] = rotation[8:16]
    monkeypatch.setattr(ours.model(), "key_rotation", lambda: rotation)


@mistake
def keys_rotated_as_the_image_cells_that_they_cover(
    ours: ObservedTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    rotation = ours.model().key_rotation() ** 4
    monkeypatch.setattr(ours.model(), "key_rotation", lambda: rotation)


@mistake
def placed_latents_without_their_code(
    ours: ObservedTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = torch.zeros_like(ours.model().memory_position())
    monkeypatch.setattr(ours.model(), "memory_position", lambda: silent)


@mistake
def placed_latents_first(_: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = SpatialPerceiver.forward

    def swapped(self: SpatialPerceiver, memory: Any, code: Any) -> torch.Tensor:
        return forward(self, memory, code).roll(16, dims=1)

    monkeypatch.setattr(SpatialPerceiver, "forward", swapped)


@pytest.fixture(scope="module")
def theirs() -> list[Output]:
    return list(run_reference(SMALL_EDGETAM, small_edgetam_weights(), SCRIPT))


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


def test_folding_takes_the_epsilon_of_batch_norms(
    theirs: list[Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracker.weights.repvit_layout, "_EPSILON", 1e-3)
    (own, *_) = run_ours(our_tracker(), SCRIPT[:1])
    assert Scale(theirs).difference(own, theirs[0]) > 2 * RELATIVE_TOLERANCE
