"""Products of 8-bit floats (e4m3), twice as fast as bfloat16 on devices that have them.

Weights are rounded once, activations in every call, each with one scale that puts its largest
value at the end of the range: three bits of mantissa, about 4 % of error in a product. Attention
itself, norms and the mask decoder stay as they are. Not the published model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tracker.model.products import Activation, Linear

_E4M3 = torch.float8_e4m3fn
_LARGEST = float(torch.finfo(_E4M3).max)
# Ada Lovelace, Hopper and newer.
_CAPABILITY = (8, 9)
# The device's products want both widths so.
_MULTIPLE = 16


class Fp8Linear(Linear):
    """A linear layer with the weights of another, multiplied in 8 bits."""

    def __init__(self, plain: Linear) -> None:
        super().__init__(plain.in_features, plain.out_features, bias=False, device="meta")
        self.weight, self.bias = plain.weight, plain.bias
        self._weight_OC, self._scale = _rounded(plain.weight)

    def activated(self, x: Tensor, activation: Activation) -> Tensor:
        """The layer and an activation behind it."""
        rows, scale = _rounded(x.reshape(-1, self.in_features))
        bias = None if self.bias is None else self.bias.to(torch.bfloat16)
        made = torch._scaled_mm(
            rows,
            self._weight_OC.t(),
            scale,
            self._scale,
            bias=bias,
            out_dtype=torch.bfloat16,
        ).view(*x.shape[:-1], self.out_features)
        if activation == "relu":
            return F.relu(made)
        return F.gelu(made) if activation == "gelu" else made


def require_fp8(device: torch.device) -> None:
    """Raise ValueError where the device has no products of 8-bit floats."""
    found = "a processor"
    if device.type == "cuda":
        capability = torch.cuda.get_device_capability(device)
        if capability >= _CAPABILITY:
            return
        found = f"compute capability {capability[0]}.{capability[1]}"
    raise ValueError(
        "engine.fp8 needs a CUDA device of compute capability 8.9 or newer (Ada, Hopper), "
        f"this is {found}; leave it off"
    )


def multiply_in_fp8(part: nn.Module) -> int:
    """Let all linear layers of a part of the network multiply in 8 bits -> how many do."""
    changed = 0
    for parent in list(part.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, Linear) and not isinstance(child, Fp8Linear):
                if child.in_features % _MULTIPLE or child.out_features % _MULTIPLE:
                    continue
                parent.register_module(name, Fp8Linear(child))
                changed += 1
    return changed


def _rounded(values: Tensor) -> tuple[Tensor, Tensor]:
    scale = values.abs().amax().float().clamp(min=1e-12) / _LARGEST
    return (values / scale).to(_E4M3), scale
