"""EfficientTAM: our tracker does what an independent network does, and mistakes show.

The mistakes are those of EfficientTAM's own parts: trunk, neck, and a decoder without fine maps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import tracker.model.mask_decoder
from tests.tracker.agreement.comparison import (
    RELATIVE_TOLERANCE,
    ObservedTracker,
    Output,
    Scale,
    run_ours,
    run_reference,
)
from tests.tracker.agreement.efficienttam import EfficientTamReference
from tests.tracker.agreement.scripts import (
    SMALL_EFFICIENTTAM,
    model_with,
    small_efficienttam_weights,
)
from tests.tracker.agreement.test_planted_mistakes import (
    SCRIPT,
    padding_tokens_of_windows_not_attended,
    set_epsilon,
)
from tests.tracker.agreement.test_streams import SCRIPTS, vanishes_and_returns
from tracker.model.vit import Vit
from tracker.options import EngineOptions


def our_tracker(*, corrections_condition: bool = False, fixed: bool = False) -> ObservedTracker:
    """With weights of its own, as some mistakes write into them."""
    weights = {name: value.clone() for name, value in small_efficienttam_weights().items()}
    return ObservedTracker(
        model_with(SMALL_EFFICIENTTAM, weights),
        corrections_condition=corrections_condition,
        engine=EngineOptions(fixed_shapes="on") if fixed else None,
    )


def reference_outputs(script: Any, *, corrections_condition: bool = False) -> list[Output]:
    return list(
        run_reference(
            SMALL_EFFICIENTTAM,
            small_efficienttam_weights(),
            script,
            corrections_condition=corrections_condition,
            kind=EfficientTamReference,
        )
    )


@pytest.mark.parametrize(
    ("name", "fixed"),
    [
        ("points", False),
        ("boxes", False),
        ("masks", True),
        ("corrections that condition", False),
    ],
)
def test_tracker_agrees_with_the_reference(name: str, fixed: bool) -> None:
    script = SCRIPTS[name]
    conditions = script.corrections_condition
    theirs = reference_outputs(script.frames, corrections_condition=conditions)
    scale = Scale(theirs)
    ours = run_ours(our_tracker(corrections_condition=conditions, fixed=fixed), script.frames)
    differences = [scale.difference(own, other) for own, other in zip(ours, theirs, strict=True)]
    assert max(differences) < RELATIVE_TOLERANCE, differences
    visible = [frame[1].object_score_logit > 0 for frame in theirs if 1 in frame]
    assert vanishes_and_returns(visible), visible


Plant = Callable[[ObservedTracker, pytest.MonkeyPatch], None]
MISTAKES: dict[str, Plant] = {
    "padding tokens of windows not attended": padding_tokens_of_windows_not_attended
}


def mistake(plant: Plant) -> Plant:
    MISTAKES[plant.__name__.replace("_", " ")] = plant
    return plant


@mistake
def trunk_norms_with_the_epsilon_of_the_decoder(ours: ObservedTracker, _: Any) -> None:
    set_epsilon(ours.model().image_encoder, 1e-5)


@mistake
def global_attention_in_another_block(ours: ObservedTracker, _: Any) -> None:
    first, second, _last = ours.model().image_encoder.trunk.blocks
    first.window, second.window = second.window, first.window


@mistake
def position_of_the_class_token_kept(ours: ObservedTracker, _: Any) -> None:
    trunk = ours.model().image_encoder.trunk
    trunk.pos_embed.data = trunk.pos_embed.data.roll(1, dims=1)
    trunk.forget_constants()


@mistake
def positions_stretched_linearly(ours: ObservedTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    def linearly(self: Vit, height: int, width: int) -> torch.Tensor:
        table = self.pos_embed[:, 1:].mT.unflatten(2, (5, 5))
        return nn.functional.interpolate(table, (height, width), mode="bilinear")

    monkeypatch.setattr(Vit, "_position", linearly)
    ours.model().image_encoder.trunk.forget_constants()


@mistake
def neck_without_its_last_norm(ours: ObservedTracker, _: Any) -> None:
    ours.model().image_encoder.neck.convs[0].norm_1 = nn.Identity()


@mistake
def neck_with_an_activation(ours: ObservedTracker, _: Any) -> None:
    level = ours.model().image_encoder.neck.convs[0]
    level.norm_0 = nn.Sequential(level.norm_0, nn.GELU())


@mistake
def fine_maps_of_the_only_map(_: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracker.model.mask_decoder, "_plus", lambda x, _: x + x.mean(1, True))


@pytest.fixture(scope="module")
def theirs() -> list[Output]:
    return reference_outputs(SCRIPT)


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


def test_without_a_mistake_there_is_no_difference(theirs: list[Output]) -> None:
    scale = Scale(theirs)
    ours = run_ours(our_tracker(), SCRIPT)
    worst = max(scale.difference(own, other) for own, other in zip(ours, theirs, strict=True))
    assert worst < RELATIVE_TOLERANCE
