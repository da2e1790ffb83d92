"""Batch norms folded into the convolutions before them: what runs is the convolution alone."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor


def folded(
    state: Mapping[str, Tensor], convolution: str, norm: str, epsilon: float
) -> tuple[Tensor, Tensor]:
    """Weight and bias that do what a convolution without bias and its trained norm do together.

    ``convolution`` and ``norm`` are the names of the two modules. Raises KeyError if one of their
    tensors is missing.
    """
    gain = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + epsilon).sqrt()
    weight = state[f"{convolution}.weight"] * gain[:, None, None, None]
    return weight, state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
