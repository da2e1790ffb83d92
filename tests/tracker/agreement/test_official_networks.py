"""The four official networks in their full width: a conditioning frame and a tracked one agree.

Trunks are all in which the four differ, and by far what costs most; so only the smallest is run at
1024², on two pictures. The others run at 512², where every layer and every padded window of their
trunks is there too, and see their first picture twice, which each side encodes once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.tracker.agreement.comparison import (
    RELATIVE_TOLERANCE,
    ObservedTracker,
    Scale,
    run_ours,
    run_reference,
)
from tests.tracker.agreement.reference import Reference
from tests.tracker.agreement.scripts import Frame, disc, model_with, picture, shapes_of
from tests.tracker.agreement.weights import amplified_weights
from tracker import PRESETS, Prompt

CLICKED, MASKED = 1, 2
# The mask of a clicked frame is binarised before it is remembered, and among a million pixels a
# few lie so near zero that rounding decides. Each of them is worth 1e-5 to 3e-5 of the largest
# logit (15), and how many there are depends on the processor's instructions: measured 1e-6 to 3e-5
# with AVX-512 and with AVX2. The object given by its mask stays below 2e-6 on all of them.
TOLERANCE_AFTER_BINARISATION = 1e-3
# Puts the objects of this pair of frames in the picture.
OBJECT_SCORE_BIAS = 8.0


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("name", "side", "pictures"),
    [
        ("sam2.1_hiera_tiny", 1024, 2),
        ("sam2.1_hiera_small", 512, 1),
        ("sam2.1_hiera_base_plus", 512, 1),
        ("sam2.1_hiera_large", 512, 1),
    ],
)
def test_official_network_agrees(
    name: str, side: int, pictures: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PRESETS[name].replaced(memory_dtype="float32", image_size=side)
    weights = amplified_weights(shapes_of(config), seed=0, object_score_bias=OBJECT_SCORE_BIAS)
    scale = side / 1024
    prompts = [
        Prompt(CLICKED, ((400 * scale, 420 * scale),), (1,)),
        Prompt(MASKED, mask=disc(600 * scale, 500 * scale, 150 * scale, side)),
    ]
    script = [
        Frame(picture(0, side, side), prompts),
        Frame(picture(pictures - 1, side, side)),
    ]
    ours = ObservedTracker(model_with(config, weights))
    if pictures == 1:
        monkeypatch.setattr(ours.model(), "encode_image", once(ours.model().encode_image))
        monkeypatch.setattr(Reference, "encode", once(Reference.encode))

    theirs = list(run_reference(config, weights, script))
    largest = Scale(theirs)
    for frame, (own, other) in enumerate(zip(run_ours(ours, script), theirs, strict=True)):
        for object_id in own:
            is_decided_by_pixels = frame == 1 and object_id == CLICKED
            tolerance = TOLERANCE_AFTER_BINARISATION if is_decided_by_pixels else RELATIVE_TOLERANCE
            difference = largest.difference(
                {object_id: own[object_id]}, {object_id: other[object_id]}
            )
            assert difference < tolerance, (frame, object_id)
    assert all(output.object_score_logit > 0 for frame in theirs for output in frame.values())


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    """The result of the first call, for every call."""
    results: list[Any] = []

    def first(*arguments: Any) -> Any:
        if not results:
            results.append(function(*arguments))
        return results[0]

    return first
