"""The Triton kernel computes attention: here under its interpreter, on a GPU as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch


def run(program: str, environment: dict[str, str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", f"tests.tracker.engine.{program}"],
        cwd=Path(__file__).parents[3],
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_under_the_interpreter_it_is_softmax_attention() -> None:
    assert len(run("interpreted_attention", {"TRITON_INTERPRET": "1"})) == 4


def test_it_compiles_for_a_device_that_is_not_here(tmp_path: Path) -> None:
    assert len(run("compiled_attention", {"TRITON_CACHE_DIR": str(tmp_path)})) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("place", [0, 1, 2])
def test_on_a_device_it_is_softmax_attention(place: int) -> None:
    from tracker.engine.triton_attention import BLOCKS, attend_narrow

    query = torch.randn(2, 4096, 256, device="cuda", dtype=torch.bfloat16)
    key = torch.randn(2, 7 * 4096 + 64, 256, device="cuda", dtype=torch.bfloat16)
    value = torch.randn(2, 7 * 4096 + 64, 64, device="cuda", dtype=torch.bfloat16)
    ours = attend_narrow(query, key, value, 64, None, BLOCKS[place])
    scores = query[:, :512].float() @ key.float().transpose(1, 2) / 16
    expected = scores.softmax(dim=2) @ value.float()
    torch.testing.assert_close(ours[:, :512].float(), expected, atol=1e-2, rtol=1e-2)
