"""Linear layers by oneDNN and attention in chunks equal PyTorch's, up to rounding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.model import chunking, hiera, onednn_linear
from tracker.model.chunked_attention import attend_in_chunks
from tracker.model.cpu_paths import BY_ONEDNN, AttentionPath, CpuPaths, using
from tracker.model.layers import Mlp
from tracker.model.onednn_linear import Activation, Linear, Pointwise


@pytest.fixture
def always() -> Iterator[None]:
    """Use oneDNN even if this CPU has a faster library."""
    with using(CpuPaths("onednn", BY_ONEDNN, BY_ONEDNN)):
        yield


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
@pytest.mark.parametrize("places", [2, 300])  # below the threshold, and above
def test_layer_is_that_of_pytorch(places: int, activation: Activation) -> None:
    layer, x = Linear(64, 96), torch.randn(2, places, 64).transpose(0, 1)
    expected = F.linear(x, layer.weight, layer.bias)
    if activation != "none":
        expected = getattr(F, activation)(expected)
    with torch.inference_mode():
        torch.testing.assert_close(layer.activated(x, activation), expected)


@pytest.mark.usefixtures("always")
def test_gradients_autocast_and_half_precision_use_pytorchs_product(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(onednn_linear, "onednn_linear", _forbidden)
    layer, x = Linear(64, 96), torch.randn(300, 64)
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    with torch.inference_mode():
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(x).dtype == torch.bfloat16
        assert layer.half()(x.half()).dtype == torch.float16


@pytest.mark.parametrize("library", ["mkl", "onednn"])
@pytest.mark.parametrize("sizes", [(40, 30), (1, 200), (150, 130), (64, 128)])
def test_chunks_combine_to_one_softmax(
    sizes: tuple[int, int], library: Literal["mkl", "onednn"]
) -> None:
    path = AttentionPath(library, 32, 64)
    queries, keys = sizes
    generator = torch.Generator().manual_seed(queries)
    # Scores of some hundreds: rows that attend to a single key, and chunks without any weight.
    query = 8 * torch.randn(3, queries, 16, generator=generator)
    key = 8 * torch.randn(3, keys, 16, generator=generator)
    value = torch.randn(3, keys, 24, generator=generator)
    with torch.inference_mode():
        whole = (query * 16**-0.5 @ key.transpose(1, 2)).softmax(dim=2) @ value
        # The rounding of such scores alone is 3e-5.
        made = attend_in_chunks(query, key, value, path)
        alone = attend_in_chunks(query[2:], key[2:], value[2:], path)
        torch.testing.assert_close(made, whole, rtol=2e-4, atol=2e-4)
        assert torch.equal(made[2:], alone)  # whatever the other rows are


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pointwise_convolution_is_that_of_pytorch(layout: torch.memory_format) -> None:
    layer = Pointwise(32, 48)
    x = torch.randn(2, 32, 40, 40).contiguous(memory_format=layout)
    expected = F.conv2d(x, layer.weight, layer.bias)
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("width", [2, 64])  # below the threshold, and above
def test_bfloat16_weights_round_their_input(width: int) -> None:
    layer, mlp, x = Linear(64, 96), Mlp((64, width, 64), torch.nn.GELU), torch.randn(300, 64)
    exact, exact_mlp = layer(x).detach(), mlp(x).detach()
    with torch.inference_mode():
        layer.bfloat16()
        mlp.bfloat16()
        made = layer(x)
        assert made.dtype == torch.float32
        assert torch.equal(made, made.bfloat16().float())  # rounded, then widened
        assert 0 < (made - exact).norm() / exact.norm() < 2**-7
        assert mlp(x).dtype == torch.bfloat16
        assert (mlp(x) - exact_mlp).norm() / exact_mlp.norm() < 2**-7


def _forbidden(*_: Tensor) -> Tensor:
    raise AssertionError("oneDNN must not be called here")


def test_a_block_in_chunks_gives_the_result_of_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # An odd window pads; the second block halves the grid and widens.
    blocks = [hiera.HieraBlock(16, 16, 1, 3, False), hiera.HieraBlock(16, 32, 2, 4, True)]
    x = torch.randn(2, 16, 16, 16)
    with torch.inference_mode():
        together = blocks[1](blocks[0](x))
        monkeypatch.setattr(chunking, "_CHUNK_BYTES", 4 * 48 * 9 * 5)
        torch.testing.assert_close(blocks[1](blocks[0](x)), together)


def test_objects_in_chunks_give_the_result_of_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = torch.randn(7, 3), torch.randn(7, 2, 4)
    seen: list[int] = []

    def function(some: torch.Tensor, others: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(len(some))
        return 2 * some, others.sum(dim=1)

    monkeypatch.setattr(chunking, "_CHUNK_BYTES", 4 * 10 * 3)
    with torch.inference_mode():
        made = chunking.objects_in_chunks(function, 10, first, second)
    assert seen == [3, 3, 1]
    torch.testing.assert_close(made, (2 * first, second.sum(dim=1)), rtol=0, atol=0)
    chunking.objects_in_chunks(function, 10, first, second)  # with gradients all rows go together
    assert seen[3:] == [7]
