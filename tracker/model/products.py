"""Products of float32 on a processor, by oneDNN where PyTorch would call MKL.

MKL does not use the 512-bit units of processors that are not Intel's: on an AMD EPYC (Zen 5) a
core makes 100 GFLOP/s of a product of 2048², with oneDNN, which is in PyTorch as well, 240. The
results are those of float32 either way, to rounding. PyTorch's own compiler calls the same
operators; where a build lacks them, ``torch.nn.functional.linear`` is what is left.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Activation = Literal["none", "relu", "gelu"]

# Below so many multiplications the call itself costs more than MKL's slower arithmetic.
_LEAST_MULTIPLICATIONS = 1 << 20

_AVAILABLE = (
    torch.backends.mkldnn.is_available()
    and torch.backends.cpu.get_cpu_capability() == "AVX512"
    and hasattr(torch.ops.mkldnn, "_linear_pointwise")
)


def pays(x: Tensor, multiplications: int) -> bool:
    """Whether oneDNN is the faster one for a product of ``x`` with so many multiplications."""
    return (
        _AVAILABLE
        and multiplications >= _LEAST_MULTIPLICATIONS
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
    )


def product(
    x: Tensor, weight_OC: Tensor, bias_O: Tensor | None = None, activation: Activation = "none"
) -> Tensor:
    """(..., C) by (O, C) -> (..., O), with what follows it; float32, only where it ``pays``."""
    made: Tensor = torch.ops.mkldnn._linear_pointwise(
        x, weight_OC, bias_O, activation, [], "none" if activation == "gelu" else ""
    )
    return made


class Linear(nn.Linear):
    """``torch.nn.Linear`` with the faster product."""

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        return self.activated(input, "none")

    def activated(self, x: Tensor, activation: Activation) -> Tensor:
        """The layer and an activation behind it, in one pass where that is possible."""
        if self.weight.dtype == torch.float32 and pays(
            x, x.numel() // self.in_features * self.weight.numel()
        ):
            return product(x, self.weight, self.bias, activation)
        made = F.linear(x, self.weight, self.bias)
        if activation == "relu":
            return F.relu(made)
        return F.gelu(made) if activation == "gelu" else made
