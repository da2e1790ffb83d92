"""A convolution, an addition and ReLU6 in one pass over a map, by oneDNN on CPUs.

PyTorch's eager operators write a map, read and write it for the activation, and once more for the
sum; the compiler's operators of oneDNN do it in one pass. Results agree up to float32 rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tracker.model.cpu_paths import ONEDNN_IS_HERE


def convolve(
    layer: nn.Conv2d,
    x_BCHW: Tensor,
    padding: Sequence[int],
    *,
    relu6: bool = False,
    add_BOHW: Tensor | None = None,
) -> Tensor:
    """``layer`` with zeros around the map, plus ``add_BOHW``, and ReLU6 of that -> (B, O, H, W)."""
    if not _takes_one_pass(layer, x_BCHW):
        made = F.conv2d(
            x_BCHW, layer.weight, layer.bias, layer.stride, tuple(padding), 1, layer.groups
        )
        made = made if add_BOHW is None else made + add_BOHW
        return F.relu6(made) if relu6 else made
    operators = torch.ops.mkldnn
    shape = list(padding), list(layer.stride), [1, 1], layer.groups
    if add_BOHW is not None:
        made = operators._convolution_pointwise.binary(
            x_BCHW, add_BOHW, layer.weight, layer.bias, *shape, "add", 1.0, None, [], None
        )
        return F.relu6(made) if relu6 else made
    activation = ("hardtanh", [0.0, 6.0], "") if relu6 else ("none", [], "")
    one_pass: Tensor = operators._convolution_pointwise(
        x_BCHW, layer.weight, layer.bias, *shape, *activation
    )
    return one_pass


def _takes_one_pass(layer: nn.Conv2d, x_BCHW: Tensor) -> bool:
    return (
        ONEDNN_IS_HERE
        and x_BCHW.device.type == "cpu"
        and x_BCHW.dtype == layer.weight.dtype == torch.float32
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
    )
