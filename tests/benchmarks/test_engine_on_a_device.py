"""The engine's benchmark on a pretended CUDA device: it measures whole steps."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from torch.overrides import TorchFunctionMode

from benchmarks import engine, engine_profile
from benchmarks.engine import EngineCell
from benchmarks.implementations import Setting
from tests.tracker.agreement.scripts import picture
from tests.tracker.little import LITTLE
from tests.tracker.pretended.device import pretended_cuda
from tests.tracker.pretended.graphs import Recording

CELL = EngineCell("tiny", 64, objects=2, streams=1)


@pytest.fixture(autouse=True)
def no_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only PyTorch's own kernels: the others need a compiler for the device."""
    monkeypatch.setattr("tracker.engine.attention_choice.choose", lambda *_: None)


class Called(TorchFunctionMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        self.names[getattr(function, "__name__", "")] += 1
        return function(*arguments, **(options or {}))


def test_a_whole_step_is_replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filling the bank without the heavy parts must not capture graphs without them."""
    replayed: Counter[str] = Counter()
    run = Recording.run

    def counted(recording: Recording) -> None:
        replayed.update(getattr(function, "__name__", "") for function, *_ in recording.calls)
        run(recording)

    monkeypatch.setattr(Recording, "run", counted)
    image = picture(1, engine.HEIGHT, engine.WIDTH)
    with pretended_cuda():
        graphs, plain = (
            engine.ready("masklet", CELL, LITTLE, Setting("cuda", graphs=own), image)
            for own in (True, False)
        )
        replayed.clear()
        graphs.step(image)
        with Called() as called:
            plain.step(image)
    attended = called.names["scaled_dot_product_attention"]
    assert replayed["scaled_dot_product_attention"] == attended > 0


def test_a_device_is_timed_both_ways_and_profiled(monkeypatch: pytest.MonkeyPatch) -> None:
    # PyTorch's counter asks the driver.
    monkeypatch.setattr(engine_profile, "_operations", lambda entry, image: {})
    with pretended_cuda():
        timed = engine.measure_time(CELL, LITTLE, ["masklet"], Setting("cuda"), rounds=1)
        profile = engine_profile.measure_profile(
            CELL, LITTLE, Setting("cuda", graphs=False), rounds=1
        )
    assert set(timed["seconds"]) == {"host", "device"}
    assert set(profile["seconds"]) == {*engine_profile.PARTS, "step"}
