"""Triton kernels compute memory attention and trunks: here interpreted, on a GPU as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tracker import PRESETS, Tracker
from tracker.memory.shapes import MemoryShape
from tracker.model import Sam2
from tracker.model.precision import autocast

# The interpreter takes seconds, or minutes where others use the processor too.
pytestmark = pytest.mark.timeout(660)


def run(program: str, environment: dict[str, str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.tracker.engine.{program}"],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_under_the_interpreter_they_agree_with_softmax_attention_and_the_network() -> None:
    assert len(run("interpreted_attention", {"TRITON_INTERPRET": "1"})) == 14


def test_they_compile_for_a_device_that_is_not_here(tmp_path: Path) -> None:
    assert len(run("compiled_attention", {"TRITON_CACHE_DIR": str(tmp_path)})) == 13


@pytest.mark.gpu
@pytest.mark.parametrize("splits", [1, 4])
@pytest.mark.parametrize("narrow", [64, 256])
def test_on_a_device_it_is_softmax_attention(splits: int, narrow: int) -> None:
    from tracker.engine.attention_choice import BLOCKS, WIDE_BLOCKS
    from tracker.engine.triton_attention import attend

    query = torch.randn(2, 4096, 256, device="cuda", dtype=torch.bfloat16)
    key = torch.randn(2, 7 * 4096 + 64, 256, device="cuda", dtype=torch.bfloat16)
    value = torch.randn(2, 7 * 4096 + 64, narrow, device="cuda", dtype=torch.bfloat16)
    scores = query[:, :512].float() @ key.float().transpose(1, 2) / 16
    expected = scores.softmax(dim=2) @ value.float()
    for blocks in (BLOCKS if narrow == 64 else WIDE_BLOCKS)[:2]:
        ours = attend(query, key, value, 64, None, blocks, splits)
        torch.testing.assert_close(ours[:, :512].float(), expected, atol=1e-2, rtol=1e-2)


@pytest.mark.gpu
def test_on_a_device_memory_attention_agrees_with_the_network() -> None:
    from tracker.engine.attention_choice import Offer, choose

    tracker = Tracker(Sam2(PRESETS["sam2.1_hiera_tiny"]), torch.device("cuda"))
    with torch.inference_mode(), autocast(torch.bfloat16, tracker.device):
        shape = MemoryShape(7, 16, masked=False)
        assert choose(tracker.model(), shape, (1, 4), tracker.device, Offer()) is not None
