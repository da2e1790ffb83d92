"""8-bit products: refused where the device has none, and near the exact ones."""

from __future__ import annotations

import pytest
import torch

from tests.tracker.little import LITTLE, little_tracker, model_with
from tracker import Tracker, TrackerOptions
from tracker.engine.options import EngineOptions
from tracker.model.fp8 import Fp8Linear, multiply_in_fp8, require_fp8
from tracker.model.products import Linear


def test_a_processor_has_none() -> None:
    options = TrackerOptions(2, engine=EngineOptions(fp8=True))
    model = model_with(LITTLE, little_tracker().model().state_dict())
    with pytest.raises(ValueError, match=r"engine.fp8 needs a CUDA device .* is a processor"):
        Tracker(model, torch.device("cpu"), options)


def test_an_older_device_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    with pytest.raises(ValueError, match=r"compute capability 8\.6; leave it off"):
        require_fp8(torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    require_fp8(torch.device("cuda"))


@pytest.mark.parametrize("activation", ["none", "relu"])
def test_a_product_is_within_the_rounding_of_three_bits(activation: str) -> None:
    torch.manual_seed(0)
    plain = Linear(64, 32)
    x = torch.randn(2, 20, 64)
    with torch.inference_mode():
        exact = plain.activated(x, activation)
        ours = Fp8Linear(plain).activated(x, activation)
    assert ours.shape == exact.shape
    assert float((ours - exact).norm() / exact.norm()) < 0.06


def test_weights_keep_their_names_and_layers_that_do_not_fit_stay() -> None:
    attention = little_tracker().model().memory_attention
    before = {name: value.clone() for name, value in attention.state_dict().items()}
    linear = sum(isinstance(each, Linear) for each in attention.modules())
    assert multiply_in_fp8(attention) == linear
    after = attention.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert multiply_in_fp8(attention) == 0
    assert multiply_in_fp8(torch.nn.Sequential(Linear(8, 24))) == 0
