"""Effects of cameras and codecs: light, colour, blur, noise and block compression.

Dimensions: B clips, T frames, S side. Deterministic by the generator.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.training.procedural import uniform

_BLUR_SIDE = 7


def degrade(images_BT3SS: Tensor, generator: torch.Generator) -> Tensor:
    """The clips with camera and codec artefacts, in 0..1."""
    clips, frames = images_BT3SS.shape[:2]
    images = _light(images_BT3SS, generator)
    images = _blur(images.flatten(0, 1), generator, clips, frames)
    strength = uniform(generator, clips, 1, 1, 1, 1, high=0.03)
    noise = torch.randn(
        (clips, frames, *images.shape[1:]), generator=generator, device=generator.device
    )
    images = (images.unflatten(0, (clips, frames)) + strength * noise).clamp(0, 1)
    return _compress(images, generator).clamp(0, 1)


def _light(images_BT3SS: Tensor, generator: torch.Generator) -> Tensor:
    """Exposure, tint and gamma of a clip; slight flicker; a light gradient."""
    clips, frames, _, side, _ = images_BT3SS.shape
    gain = uniform(generator, clips, 1, 1, 1, 1, low=0.7, high=1.3)
    tint = uniform(generator, clips, 1, 3, 1, 1, low=0.88, high=1.12)
    flicker = uniform(generator, clips, frames, 1, 1, 1, low=0.95, high=1.05)
    gamma = uniform(generator, clips, 1, 1, 1, 1, low=0.8, high=1.25)
    axis = torch.linspace(-1, 1, side, device=generator.device)
    slope = uniform(generator, 2, clips, 1, 1, 1, 1, low=-0.2, high=0.2)
    gradient = 1 + slope[0] * axis.view(1, 1, 1, side, 1) + slope[1] * axis
    lit = images_BT3SS * gain * tint * flicker * gradient
    return lit.clamp(1e-4, 1) ** gamma


def _blur(images_b3SS: Tensor, generator: torch.Generator, clips: int, frames: int) -> Tensor:
    """A soft lens or motion along one direction, on half of the clips; b = B * T."""
    axis = torch.arange(_BLUR_SIDE, device=generator.device) - _BLUR_SIDE // 2
    y, x = torch.meshgrid(axis.float(), axis.float(), indexing="ij")
    angle = uniform(generator, clips, 1, 1, high=math.pi)
    along, across = uniform(generator, 2, clips, 1, 1, low=0.1, high=1.3)
    off = uniform(generator, clips, 1, 1) < 0.5
    along, across = torch.where(off, 0.05, 1.5 * along), torch.where(off, 0.05, 0.6 * across)
    u, v = x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin()
    kernel = torch.exp(-0.5 * ((u / along) ** 2 + (v / across) ** 2))
    kernel = kernel / kernel.sum(dim=(1, 2), keepdim=True)
    weight = kernel.repeat_interleave(frames * 3, dim=0).unsqueeze(1)
    folded = images_b3SS.reshape(1, -1, *images_b3SS.shape[2:])
    folded = F.pad(folded, (_BLUR_SIDE // 2,) * 4, mode="reflect")
    return F.conv2d(folded, weight, groups=weight.shape[0]).view_as(images_b3SS)


def _compress(images_BT3SS: Tensor, generator: torch.Generator) -> Tensor:
    """Quantise the 8×8 cosine coefficients, as JPEG and the video codecs do; on half the clips."""
    clips, _, _, side, _ = images_BT3SS.shape
    index = torch.arange(8, device=generator.device, dtype=torch.float32)
    basis = torch.cos((2 * index[None, :] + 1) * index[:, None] * math.pi / 16) * 0.5
    basis[0] *= 2**-0.5
    strength = uniform(generator, clips, 1, 1, 1, 1, 1, 1, low=-0.04, high=0.04).clamp(min=1e-4)
    step = strength * (1 + index[:, None, None] + index[None, None, :])
    blocks = images_BT3SS.unflatten(4, (side // 8, 8)).unflatten(3, (side // 8, 8))
    coefficients = torch.einsum("ia,...haxb,jb->...hixj", basis, blocks, basis)
    rounded = (coefficients / step).round() * step
    restored = torch.einsum("ia,...hixj,jb->...haxb", basis, rounded, basis)
    return restored.flatten(5, 6).flatten(3, 4)
