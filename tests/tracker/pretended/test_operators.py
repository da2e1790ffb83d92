"""What a CUDA device is asked for, it has; and in bfloat16 types fit each other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.tracker import ahead
from tests.tracker.ahead import POLICIES, tracker_of
from tests.tracker.engine.plain_kernels import use_plain_kernels
from tests.tracker.little import assert_all_same, click, little_picture
from tests.tracker.policy.test_robust_tracker import PLAIN
from tests.tracker.pretended.device import pretended_cuda
from tests.tracker.pretended.test_tracker import DEVICE, everything, tracker_with, yuv_picture
from tracker import TrackerOptions
from tracker.engine import attention_choice
from tracker.options import EngineOptions

# Kernels are registered with a build of PyTorch that has CUDA, also where there is no device.
BUILT_FOR = "CUDA" if torch.backends.cuda.is_built() else "CPU"
ANYWHERE = ("CompositeExplicitAutograd", "CompositeImplicitAutograd")


class Operators(TorchDispatchMode):
    """Collects what is called."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        self.found.add(function.name())
        return function(*arguments, **(options or {}))


def test_every_operator_has_a_kernel_for_the_device() -> None:
    with pretended_cuda(1), Operators() as operators:
        tracker = tracker_of(PLAIN, device=DEVICE)
        assert len(list(everything(tracker))) == 28
        tracker.prepare_yuv(yuv_picture(0))
    has = torch._C._dispatch_has_kernel_for_dispatch_key
    assert len(operators.found) > 100
    missing = {
        name
        for name in operators.found
        # Attention is called what the processor's kernel is called.
        if "flash_attention_for_cpu" not in name
        and not any(has(name, key) for key in (BUILT_FOR, *ANYWHERE))
    }
    assert missing == set()


@POLICIES
def test_in_bfloat16_types_fit(robust: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a processor's autocast, which rounds the same products; masks of noise differ."""
    half = {"compute_dtype": "bfloat16"}
    monkeypatch.setattr(
        ahead,
        "TrackerOptions",
        lambda **given: TrackerOptions(**given | half),  # type: ignore[arg-type]
    )
    monkeypatch.setattr(
        "tracker.step.frame_step.autocast", lambda dtype, device: torch.autocast("cpu", dtype)
    )
    with pretended_cuda(1):
        tracker = tracker_of(robust, device=DEVICE)
        assert tracker.model().image_encoder.trunk.patch_embed.proj.weight.dtype == torch.bfloat16
        found = [track for tracks in everything(tracker) for track in tracks]
    assert len(found) > 40
    assert all(np.isfinite(track.logits).all() for track in found)


def test_attention_is_measured_and_captured_on_the_tracker_s_own_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With Triton's kernels stood in for: it tracks what the network itself tracks."""
    use_plain_kernels(monkeypatch)
    asked: set[torch.device] = set()
    plain = attention_choice.attend

    def attend(query: Tensor, *others: Any) -> Tensor:
        asked.add(query.device)
        return plain(query, *others)

    monkeypatch.setattr(attention_choice, "attend", attend)
    engine = EngineOptions(row_sizes=(1, 2), image_sizes=(1, 2), attention="triton")
    with pretended_cuda(1):
        ours, theirs = (tracker_with(each) for each in (engine, replace(engine, attention="sdpa")))
        ours.warm_up()
        assert not torch.backends.cuda.cudnn_sdp_enabled()
        sessions = [tracker.open_session() for tracker in (ours, theirs)]
        for index in range(6):
            prompts = {0: [click(1)], 3: [click(2), click(3)]}.get(index, [])
            (own,), (other,) = (
                tracker.step([(session, little_picture(index), prompts)])
                for tracker, session in zip((ours, theirs), sessions, strict=True)
            )
            assert_all_same(own, other)
    assert ours.engine_counts.in_service == 0
    assert asked == {torch.device(DEVICE)}
