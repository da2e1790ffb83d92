"""The fastest kernel with the right result is chosen for memory attention."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import Tensor
from torch._dynamo import config as dynamo
from torch.nn import functional as F
from torch.nn.attention.flex_attention import flex_attention
from triton.runtime.errors import OutOfResources

from tests.tracker.little import assert_same, click, little_picture, little_tracker, step
from tracker.engine import attention_choice
from tracker.engine.attention_choice import choose, use
from tracker.model.memory_attention import MemoryAttentionLayer

CPU = torch.device("cpu")


def plain(query: Tensor, key: Tensor, value: Tensor, _: int, valid: Tensor | None) -> Tensor:
    mask = None if valid is None else valid[:, None]
    return F.scaled_dot_product_attention(query, key, value, mask)


def wrong(query: Tensor, key: Tensor, value: Tensor, _: int, valid: Tensor | None) -> Tensor:
    return plain(query, key, value, _, valid) * 1.1


def refused(*_: object) -> Tensor:
    raise RuntimeError("out of shared memory")


def too_large(*_: object) -> Tensor:
    raise OutOfResources(required=300_000, limit=232_448, name="shared memory")


@pytest.fixture
def attention() -> Iterator[torch.nn.Module]:
    attention = little_tracker().model().memory_attention
    yield attention
    use(attention, None)


def times(*seconds: float) -> Callable[[Callable[[], Tensor]], float]:
    left = iter(seconds)
    return lambda call: next(left)


@pytest.mark.parametrize(
    ("kernels", "seconds", "must", "chosen"),
    [
        ({"narrow": plain}, (2.0, 1.0), False, "narrow"),
        ({"narrow": plain}, (1.0, 2.0), False, "sdpa"),
        ({"wrong": wrong, "narrow": plain}, (3.0, 1.0), False, "narrow"),
        ({"refused": refused}, (3.0,), False, "sdpa"),
        ({"refused": refused, "narrow": plain}, (3.0,), True, "narrow"),
        ({"refused": refused}, (), True, "sdpa"),
        ({"too large": too_large, "narrow": plain}, (3.0, 1.0), False, "narrow"),
    ],
)
def test_choice(attention, kernels, seconds, must: bool, chosen: str) -> None:
    with torch.inference_mode():
        name = choose(
            attention, kernels, (16, 32, 4), torch.float32, CPU, times(*seconds), must=must
        )
    assert name == chosen
    for layer in attention.layers:
        assert isinstance(layer, MemoryAttentionLayer)
        assert layer.cross_attn_image.narrow is kernels.get(chosen)


def test_a_tracker_with_a_narrow_kernel_tracks_the_same() -> None:
    own, other = little_tracker(), little_tracker()
    use(own.model().memory_attention, plain)
    sessions = own.open_session(), other.open_session()
    for index in range(5):
        prompts = [click(1)] if index == 0 else []
        ours, theirs = (
            step(tracker, session, little_picture(index), *prompts)
            for tracker, session in zip((own, other), sessions, strict=True)
        )
        assert_same(ours[1], theirs[1])


def test_flex_attention_takes_narrow_values_and_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uncompiled: it is compiled on a device only."""
    monkeypatch.setattr(attention_choice, "_compiled_flex", lambda: flex_attention)
    generator = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, 20, 16, generator=generator) for _ in range(2))
    value = torch.randn(2, 20, 16, generator=generator)[..., :8]
    valid = torch.arange(20) < torch.tensor([[20], [7]])
    for mask in (None, valid):
        expected = plain(query, key, value, 4, mask)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it complains of not being compiled
            ours = attention_choice.flex_attend(query, key, value, 4, mask)
        torch.testing.assert_close(ours, expected)


def test_flex_attention_is_compiled_for_every_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond PyTorch's own bound the others would go uncompiled, with all scores at once."""
    compiled = 0

    def backend(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        nonlocal compiled
        compiled += 1
        return graph.forward

    monkeypatch.setattr(dynamo, "recompile_limit", 1)
    monkeypatch.setattr(dynamo, "accumulated_recompile_limit", 1)
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=backend))
    attention_choice._compiled_flex.cache_clear()
    try:
        with torch.inference_mode():
            for rows in (1, 2, 3):
                query, key = torch.ones(rows, 16, 16), torch.ones(rows, 24, 16)
                ours = attention_choice.flex_attend(query, key, key[..., :8], 4, None)
                torch.testing.assert_close(ours, torch.ones(rows, 16, 8))
    finally:
        attention_choice._compiled_flex.cache_clear()
        torch.compiler.reset()
    assert compiled == 3
