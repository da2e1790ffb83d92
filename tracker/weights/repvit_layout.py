"""EdgeTAM's file, whose trunk has batch norms and parallel branches: folded when it is loaded.

A file holds for each convolution ``NAME.c.weight`` and a norm ``NAME.bn.*``, and for each token
mixer two such branches, to whose sum the input is added; ``tracker.model.repvit`` has one weight
and one bias for each (arXiv 2307.09283, section 3.1).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.weights.batch_norm import folded

StateDict = dict[str, Tensor]
_REPVIT = "image_encoder.trunk.body."
_MIXER = ".token_mixer"
_NORM = ("weight", "bias", "running_mean", "running_var")
_EPSILON = 1e-5


def unfolded_shapes(own: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """The names and shapes of a file of the model whose state is ``own``."""
    shapes: dict[str, torch.Size] = {}
    for name, value in own.items():
        prefix, _, kind = name.rpartition(".")
        if not _has_norm(prefix):
            pointwise = prefix.startswith(_REPVIT) and kind == "weight"
            shapes[name] = torch.Size((*value.shape, 1, 1)) if pointwise else value.shape
        elif kind == "weight":
            for branch, kernel in _branches(prefix, value.shape):
                shapes[f"{branch}.c.weight"] = torch.Size(kernel)
                shapes |= {f"{branch}.bn.{each}": value.shape[:1] for each in _NORM}
                shapes[f"{branch}.bn.num_batches_tracked"] = torch.Size(())
    return shapes


def fold(state: StateDict, own: Mapping[str, Tensor]) -> StateDict:
    """The model's parameters from those of a file that has exactly ``unfolded_shapes``."""
    result: StateDict = {}
    for name, wanted in own.items():
        prefix, _, kind = name.rpartition(".")
        if not _has_norm(prefix):
            result[name] = state[name].view(wanted.shape)
        elif kind == "weight":
            kernel, bias = _folded(state, prefix, wanted.shape)
            result[name] = kernel.view(wanted.shape).float()
            result[f"{prefix}.bias"] = bias.float()
    return result


def _has_norm(prefix: str) -> bool:
    return prefix.startswith(_REPVIT) and ".se." not in prefix


def _branches(prefix: str, shape: torch.Size) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The convolutions of a file that make one of the model, with the shapes of their kernels."""
    if prefix.endswith(_MIXER):
        yield f"{prefix}.conv", tuple(shape)
        yield f"{prefix}.conv1", (shape[0], 1, 1, 1)
    else:
        yield prefix, tuple(shape) if len(shape) == 4 else (*shape, 1, 1)


def _folded(state: StateDict, prefix: str, shape: torch.Size) -> tuple[Tensor, Tensor]:
    """Kernel and bias in float64, so that folding rounds nothing visible."""
    exact = {name: value.double() for name, value in state.items() if name.startswith(prefix)}
    kernels, biases = [], []
    for branch, _ in _branches(prefix, shape):
        kernel, bias = folded(exact, f"{branch}.c", f"{branch}.bn", _EPSILON)
        kernels.append(_as_large(kernel, shape))
        biases.append(bias)
    if prefix.endswith(_MIXER):  # the input itself
        kernels.append(_as_large(torch.ones_like(kernel), shape))
    return torch.stack(kernels).sum(0), torch.stack(biases).sum(0)


def _as_large(kernel: Tensor, shape: torch.Size) -> Tensor:
    """A kernel with zeros around it, so that it has the side of ``shape``."""
    around = (shape[-1] - kernel.shape[-1]) // 2 if len(shape) == 4 else 0
    return F.pad(kernel, (around,) * 4)
