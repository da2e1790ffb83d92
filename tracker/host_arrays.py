"""Arrays of the host as tensors of the device."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def on_device(array: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    """The array on the device; the host does not wait for what runs there."""
    return view_of(array).to(device, non_blocking=True)


def view_of(array: npt.NDArray[np.generic]) -> Tensor:
    """A view of an array; a copy where PyTorch has none: read-only, or with negative strides."""
    if not array.flags.writeable or min(array.strides, default=0) < 0:
        array = array.copy()
    return torch.from_numpy(array)
