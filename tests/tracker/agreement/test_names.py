"""Meta's names and those of `transformers` cover each other, for all eight official networks."""

from __future__ import annotations

import pytest
import torch
from transformers import Sam2VideoModel

from tests.tracker.agreement.reference import transformers_config
from tests.tracker.agreement.scripts import shapes_of
from tracker import PRESETS
from tracker.weights.transformers_names import to_transformers


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("sam2")])
def test_every_parameter_of_the_reference_is_filled_and_none_is_left_over(name: str) -> None:
    config = PRESETS[name]
    with torch.device("meta"):
        reference = Sam2VideoModel(transformers_config(config)).state_dict()
        ours = {name: torch.empty(shape) for name, shape in shapes_of(config).items()}
    converted = to_transformers(ours)
    assert {name: value.shape for name, value in converted.items()} == {
        name: value.shape for name, value in reference.items()
    }
