"""Meta's names and those of `transformers` cover each other, for all official networks."""

from __future__ import annotations

import pytest
import torch

from tests.tracker.agreement.reference import transformers_model
from tests.tracker.agreement.scripts import shapes_of
from tracker import PRESETS
from tracker.weights.transformers_names import to_transformers


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith(("sam2", "edge"))])
def test_every_parameter_of_the_reference_is_filled_and_none_is_left_over(name: str) -> None:
    config = PRESETS[name]
    reference = transformers_model(config).state_dict()
    with torch.device("meta"):
        ours = {name: torch.empty(shape) for name, shape in shapes_of(config).items()}
    converted = to_transformers(ours)
    assert {name: value.shape for name, value in converted.items()} == {
        name: value.shape for name, value in reference.items()
    }
