"""For each count of rows, the fastest kernel with the right result is chosen."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from triton.runtime.errors import OutOfResources

from tests.tracker.engine.plain_kernels import use_plain_kernels
from tests.tracker.little import little_tracker
from tracker.engine import attention_choice
from tracker.engine.attention_choice import SETTLED, Offer, by_pytorch, candidates, choose
from tracker.engine.device_attention import DeviceAttention, Kernel, kernel_for, projections
from tracker.memory.shapes import MemoryShape
from tracker.model.memory_attention import RotaryAttention

CPU = torch.device("cpu")
SHAPE = MemoryShape(2, 3, masked=False)
HOPPER, ADA = 232_448, 101_376  # bytes of shared memory that a block may have


def right(*arguments: object) -> Tensor:
    return SETTLED(*arguments)  # type: ignore[arg-type]


def wrong(*arguments: object) -> Tensor:
    return right(*arguments) * 1.1


def refused(*_: object) -> Tensor:
    raise RuntimeError("cuDNN Frontend error")


def too_large(*_: object) -> Tensor:
    raise OutOfResources(required=300_000, limit=HOPPER, name="shared memory")


def too_many(part: object, query: Tensor, *others: object) -> Tensor:
    if len(query) > 2:
        raise torch.OutOfMemoryError
    return right(part, query, *others)


def in_turn(*seconds: float) -> Callable[[Callable[[], Tensor]], float]:
    left = iter(seconds)
    return lambda call: next(left)


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., DeviceAttention | None]:
    """Choose among these kernels by these times, of self-attention and then of the other."""
    use_plain_kernels(monkeypatch)
    device = SimpleNamespace(shared_memory_per_block=HOPPER)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: device)

    def chosen(
        kernels: dict[str, Kernel], seconds: tuple[float, ...], rows: tuple[int, ...] = (1,)
    ) -> DeviceAttention | None:
        monkeypatch.setattr(attention_choice, "candidates", lambda *_: kernels)
        with torch.inference_mode():
            model = little_tracker().model()
            return choose(model, SHAPE, rows, CPU, Offer(), in_turn(*seconds))

    return chosen


@pytest.mark.parametrize(
    ("kernels", "seconds", "within", "to_memory"),
    [
        ({"sdpa": SETTLED, "right": right}, (2, 1, 1, 2), right, SETTLED),
        ({"sdpa": SETTLED, "wrong": wrong, "right": right}, (2, 1, 1, 2), right, SETTLED),
        ({"sdpa": SETTLED, "refused": refused}, (2, 1), SETTLED, SETTLED),
        ({"too large": too_large, "right": right}, (2, 1), right, right),
        ({"refused": refused}, (), SETTLED, SETTLED),
    ],
)
def test_choice(offered, kernels, seconds, within: Kernel, to_memory: Kernel) -> None:
    ours = offered(kernels, seconds)
    assert ours.within == {1: within}
    assert ours.to_memory == {1: to_memory}


def test_counts_of_rows_choose_apart_and_those_between_take_the_next_below(offered) -> None:
    ours = offered({"sdpa": SETTLED, "right": right}, (2, 1, 2, 1, 1, 2, 1, 2), rows=(4, 1))
    assert ours.to_memory == {1: right, 4: SETTLED}
    assert [kernel_for(ours.to_memory, rows) for rows in (1, 3, 4, 64)] == [right] * 2 + [
        SETTLED
    ] * 2


def test_rows_that_do_not_fit_into_memory_take_the_kernels_of_fewer(offered) -> None:
    ours = offered({"right": too_many}, (1, 1), rows=(1, 4))
    assert ours.to_memory == {1: too_many}


def test_without_the_kernels_that_all_need_the_network_attends(
    offered, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # Triton itself, which has no device here
    with torch.inference_mode():
        assert choose(little_tracker().model(), SHAPE, (1,), CPU, Offer()) is None
    assert "memory attention runs without Triton" in caplog.text


def test_few_rows_are_split_and_only_blocks_that_fit_are_offered() -> None:
    to_memory = RotaryAttention(256, 64).bfloat16()
    one = candidates(to_memory, 1, 4096, HOPPER, Offer())
    assert [*one][:4] == ["sdpa", "cudnn", "cudnn narrow", "triton 128x64"]
    assert {"triton 128x64/4", "triton 128x64/8", "triton 64x64/4"} < one.keys()
    assert not any("/" in name for name in candidates(to_memory, 8, 4096, HOPPER, Offer()))
    small = candidates(to_memory, 1, 4096, ADA, Offer(only_triton=True, cudnn=False))
    assert {name.split("/")[0] for name in small} == {"triton 64x32", "triton 32x32"}
    within = candidates(RotaryAttention(256, 256), 8, 4096, HOPPER, Offer(cudnn=False))
    assert [*within] == ["sdpa", "triton 64x32", "triton 32x32"]  # float32: twice the bytes


def test_pytorch_s_kernels_project_before_or_after_and_see_the_real_keys_only() -> None:
    part = little_tracker().model().memory_attention.layers[0].cross_attn_image
    query, key = torch.randn(2, 20, 32), torch.randn(2, 14, 32)
    value, real = torch.randn(2, 14, 16), torch.tensor([[5, 2], [10, 4]])
    narrow = by_pytorch([torch.nn.attention.SDPBackend.MATH], narrow=True)
    for counts in (None, real):
        scores = query @ key.transpose(1, 2) * 32**-0.5
        for row, (first, last) in enumerate(real.tolist() if counts is not None else ()):
            scores[row, :, first:10] = scores[row, :, 10 + last :] = -math.inf
        expected = part.out_proj(part.v_proj(scores.softmax(dim=2) @ value))
        for kernel in (SETTLED, narrow):
            found = kernel(projections(part), query, key, value, 4, counts)
            torch.testing.assert_close(found, expected)
