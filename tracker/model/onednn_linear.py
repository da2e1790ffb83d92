"""Linear layers and 1×1 convolutions by oneDNN on CPUs, where PyTorch would call MKL.

MKL does not use the 512-bit units of CPUs that are not Intel's: one core of an AMD EPYC (Zen 5)
multiplies 2048² matrices at 100 GFLOP/s with MKL and at 240 with oneDNN, which PyTorch contains;
without such units the two are about equal, see ``cpu_paths``. Results agree up to float32 rounding.
PyTorch's compiler calls the same operators; a build without them falls back to
``torch.nn.functional.linear``.

A layer whose weights are stored in bfloat16 (``precision.py``) rounds its input to it; bfloat16
reaches 415 GFLOP/s.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tracker.model import cpu_paths
from tracker.model.cpu_paths import ONEDNN_IS_HERE

Activation = Literal["none", "relu", "gelu"]

# Below this the call itself costs more than MKL's slower arithmetic.
LEAST_MULTIPLICATIONS = 1 << 20

_HAS_BFLOAT16 = ONEDNN_IS_HERE and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def onednn_is_faster(x: Tensor, multiplications: int) -> bool:
    """Whether oneDNN is faster for a product of ``x`` with this number of multiplications."""
    return (
        multiplications >= LEAST_MULTIPLICATIONS
        and x.device.type == "cpu"
        and _is_by_onednn(x.dtype)
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()  # the compiler chooses the library itself
    )


def _is_by_onednn(dtype: torch.dtype) -> bool:
    if dtype == torch.bfloat16:
        return _HAS_BFLOAT16
    return dtype == torch.float32 and cpu_paths.current().linear == "onednn"


def onednn_linear(
    x: Tensor, weight_OC: Tensor, bias_O: Tensor | None = None, activation: Activation = "none"
) -> Tensor:
    """(..., C) by (O, C) -> (..., O) with bias and activation; only if ``onednn_is_faster``."""
    made: Tensor = torch.ops.mkldnn._linear_pointwise(
        x, weight_OC, bias_O, activation, [], "none" if activation == "gelu" else ""
    )
    return made


class Linear(nn.Linear):
    """``torch.nn.Linear``, by oneDNN if that is faster."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features), in the input's dtype unless autocast."""
        made = self.activated(self.rounded(input), "none")
        return made if torch.is_autocast_enabled(input.device.type) else made.to(input.dtype)

    def rounded(self, x: Tensor) -> Tensor:
        """``x`` in the weights' dtype, unless autocast is on."""
        return x if torch.is_autocast_enabled(x.device.type) else x.to(self.weight.dtype)

    def activated(self, x: Tensor, activation: Activation) -> Tensor:
        """The layer and an activation after it, in one pass if possible."""
        multiplications = x.numel() // self.in_features * self.weight.numel()
        if self.weight.dtype == x.dtype and onednn_is_faster(x, multiplications):
            return onednn_linear(x, self.weight, self.bias, activation)
        if activation != "none" and self._has_epilogue(x, activation):
            rows: Tensor = torch._addmm_activation(
                self.bias, x.flatten(0, -2), self.weight.T, use_gelu=activation == "gelu"
            )
            return rows.view(*x.shape[:-1], -1)
        made = F.linear(x, self.weight, self.bias)
        if activation == "relu":
            return F.relu(made)
        return F.gelu(made) if activation == "gelu" else made

    def _has_epilogue(self, x: Tensor, activation: Activation) -> bool:
        """Whether cuBLAS can apply the activation before it writes.

        Its GELU is the approximation by tanh, off by up to 5e-4: only bfloat16 rounds by more.
        """
        rounds = activation == "relu" or x.dtype == torch.bfloat16
        same = x.dtype == self.weight.dtype
        return x.is_cuda and same and rounds and not torch.is_grad_enabled()


def activated(layer: Linear, activation: nn.Module, x: Tensor) -> Tensor:
    """A layer and the activation module after it, in one pass if possible."""
    if isinstance(activation, nn.ReLU):
        return layer.activated(x, "relu")
    if isinstance(activation, nn.GELU) and activation.approximate == "none":
        return layer.activated(x, "gelu")
    made: Tensor = activation(layer(x))
    return made


def pointwise(x_BCHW: Tensor, weight_OC11: Tensor, bias_O: Tensor | None) -> Tensor:
    """A 1×1 convolution, (B, C, H, W) -> (B, O, H, W).

    Channels-last maps go through a linear layer over positions, in half the time of PyTorch's
    convolution, which calls MKL for single images. For other layouts the copy would cost more.
    """
    multiplications = x_BCHW.numel() * weight_OC11.shape[0]
    if (
        weight_OC11.dtype == torch.float32
        and x_BCHW.is_contiguous(memory_format=torch.channels_last)
        and onednn_is_faster(x_BCHW, multiplications)
    ):
        x_BHWC = x_BCHW.permute(0, 2, 3, 1)
        return onednn_linear(x_BHWC, weight_OC11.flatten(1), bias_O).permute(0, 3, 1, 2)
    return F.conv2d(x_BCHW, weight_OC11, bias_O)


class Pointwise(nn.Conv2d):
    """A 1×1 convolution, by oneDNN if that is faster."""

    def __init__(self, channels_in: int, channels_out: int, *, bias: bool = True) -> None:
        super().__init__(channels_in, channels_out, kernel_size=1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """(B, channels_in, H, W) -> (B, channels_out, H, W)."""
        return pointwise(input, self.weight, self.bias)
