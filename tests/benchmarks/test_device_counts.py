"""Counting kernels and bytes on a device of shapes alone."""

from __future__ import annotations

import json
from typing import Any

import torch
from torch.nn import functional as F

from benchmarks.device_counts import BEFORE, OUTSIDE, of_encoder, of_step, report
from benchmarks.shapes_only import Counts, shapes_only
from tests.tracker.little import LITTLE
from tracker import PRESETS

FLOATS = 8 * 16


def counted(*, dtype: torch.dtype = torch.float32, **tensors: tuple[int, ...]) -> Any:
    """Decorate a function of tensors: it becomes its counts under bfloat16's autocast."""

    def count(function: Any) -> Counts:
        with (
            shapes_only() as counting,
            torch.inference_mode(),
            torch.autocast("cuda", torch.bfloat16),
        ):
            given = {
                name: torch.empty(shape, dtype=dtype, device="cuda")
                for name, shape in tensors.items()
            }
            counting.restart()
            function(**given)
            return counting.outside

    return count


def test_a_view_is_no_kernel_and_what_expand_repeats_counts_once() -> None:
    @counted(x=(8, 16), row=(1, 16))
    def counts(x: torch.Tensor, row: torch.Tensor) -> None:
        x.view(16, 8).transpose(0, 1)[2:].reshape(96)  # a copy, of 6 * 16
        x + row.expand(8, 16)

    assert counts.kernels == {"aten::clone": 1, "aten::add": 1}
    assert counts.bytes == {"aten::clone": 4 * 2 * 6 * 16, "aten::add": 4 * (2 * FLOATS + 16)}


def test_what_is_overwritten_is_not_read_and_what_is_changed_is() -> None:
    @counted(x=(8, 16), y=(8, 16))
    def counts(x: torch.Tensor, y: torch.Tensor) -> None:
        x.zero_()
        x.copy_(y)
        x.add_(y)
        x.mul_(x)

    floats = {"zero_": 1, "copy_": 2, "add_": 3, "mul_": 2}
    assert counts.bytes == {f"aten::{name}": 4 * many * FLOATS for name, many in floats.items()}


def test_autocast_rounds_as_on_a_device() -> None:
    @counted(x=(8, 16), weight=(16, 16), scale=(16,))
    def counts(x: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor) -> None:
        made = F.linear(x, weight)
        assert made.dtype == torch.bfloat16
        assert F.layer_norm(made, (16,), scale).dtype == torch.float32

    # Of input and weight; of the norm's input.
    assert counts.kernels == {"aten::_to_copy": 3, "aten::linear": 1, "aten::layer_norm": 1}
    assert counts.bytes["aten::linear"] == 2 * (2 * FLOATS + 16 * 16)


def test_attention_is_one_kernel_whose_heads_lie_beside_each_other() -> None:
    @counted(x=(2, 8, 64), dtype=torch.bfloat16)
    def counts(x: torch.Tensor) -> None:
        heads = x.unflatten(2, (4, 16)).transpose(1, 2)
        F.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).flatten(2)

    assert counts.kernels == {"aten::scaled_dot_product_attention": 1}
    assert counts.bytes.total() == 2 * 2 * 2 * 8 * 64


def test_a_launch_of_triton_counts_its_tensors() -> None:
    from tracker.engine.triton_rows import rotated

    @counted(x=(3, 8, 1, 16), angles=(8, 16))
    def counts(x: torch.Tensor, angles: torch.Tensor) -> None:
        rotated(x, angles)

    assert list(counts.kernels) == ["triton::_rotate"]
    assert counts.bytes.total() == 4 * 8 * 16 * (3 + 1 + 3)


def test_a_step_is_counted_by_its_captured_calls_and_the_rest() -> None:
    parts = of_step(LITTLE, "robust", 2)
    whole, outside = parts["whole step"], parts[OUTSIDE]
    calls = [part for name, part in parts.items() if name not in ("whole step", OUTSIDE)]
    assert whole["replays"] == len(calls)
    assert whole["kernels"] == outside["kernels"] + sum(part["kernels"] for part in calls)
    assert outside["kernels"] > 0
    attention = parts["attend_memory"]
    assert 0 < attention["beside_attention"] < attention["bytes"]


def test_the_image_encoder_moves_half_of_what_it_did() -> None:
    counts = json.loads(BEFORE.read_text())
    tiny, edgetam = counts["sam2, 1"]["encode_image"], counts["encoders"]["edgetam"]
    for name, before in (("sam2.1_hiera_tiny", tiny), ("edgetam", edgetam)):
        assert of_encoder(PRESETS[name])["bytes"] <= before["bytes"] / 2, name


def test_the_table_shows_before_and_now() -> None:
    part = {"kernels": 9, "bytes": 3 * 10**9, "beside_attention": 10**9}
    whole = part | {"transfers": 2, "replays": 6}
    step = {"whole step": whole, "attend_memory": part}
    now = {f"{policy}, {objects}": step for policy in ("sam2", "robust") for objects in (1, 16)}
    now["encoders"] = {"nano": part}
    before = now | {"sam2, 1": {"whole step": whole, "attend_memory": part | {"kernels": 20}}}
    table = report(before, now).splitlines()
    assert table[2].startswith("| attend_memory | 20 → 9; 3.00 GB → 3.00 GB | 9 → 9;")
    assert "| replays | 6 → 6 | 6 → 6 | 6 → 6 | 6 → 6 |" in table
    assert table[-1] == "| nano | 9 → 9 | 3.00 GB → 3.00 GB |"
