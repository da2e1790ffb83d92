"""Conversion between source and model pixels: images, prompt coordinates, mask prompts.

Images are squashed to a square, not letter-boxed, so x and y scale differently.
Dimensions: S image size, n objects, h w any mask grid, H W source size.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.config import IMAGE_MEAN, IMAGE_STD
from tracker.host_arrays import sent, sent_beside, view_of
from tracker.images.prepared_image import PreparedImage
from tracker.images.yuv import LUMA_WEIGHTS, Plane, YuvPicture

# What a step accepts and a history keeps.
AnyImage = npt.NDArray[np.uint8] | PreparedImage | YuvPicture


def images_to_tensor(images: Sequence[AnyImage], size: int, device: torch.device) -> Tensor:
    """RGB (H, W, 3) or planes, of any size, or prepared -> normalised float32 (B, 3, S, S)."""
    return normalised(torch.cat([pixels_of(image, size, device) for image in images]))


def pixels_of(image: AnyImage, size: int, device: torch.device) -> Tensor:
    """RGB uint8 (H, W, 3) or planes, of any size, or prepared -> uint8 (1, 3, S, S)."""
    if isinstance(image, PreparedImage):
        return pixels_at(image.pixels_13SS, size)
    if isinstance(image, YuvPicture):
        return prepare_yuv(image, size, device).pixels_13SS
    return prepare_image(image, size, device).pixels_13SS


def part_of(image: AnyImage, x: int, y: int, width: int, height: int) -> AnyImage:
    """A part of a picture, in its pixels; not of one that was prepared."""
    if isinstance(image, PreparedImage):
        raise ValueError("a prepared image has no pixels of its source")
    if isinstance(image, YuvPicture):
        return image.part(x, y, width, height)
    return np.ascontiguousarray(image[y : y + height, x : x + width])


def pixels_at(pixels_13SS: Tensor, size: int) -> Tensor:
    """Prepared pixels resized for a network of another size; unchanged if the size is equal."""
    if pixels_13SS.shape[2] == size:
        return pixels_13SS
    if pixels_13SS.device.type == "cpu":  # other devices have no kernel for bytes
        return F.interpolate(pixels_13SS, (size, size), mode="bicubic", antialias=True)
    resized = F.interpolate(pixels_13SS.float(), (size, size), mode="bicubic", antialias=True)
    return (resized + 0.5).clamp_(0, 255).to(torch.uint8)


def normalised(pixels_B3SS: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """RGB uint8 -> normalised float32, or in one pass ``dtype``, channels last (no gradients)."""
    scale, offset = _normalisation(pixels_B3SS.device)
    if dtype is None:
        return pixels_B3SS * scale + offset
    out = torch.empty_like(pixels_B3SS, dtype=dtype, memory_format=torch.channels_last)
    return torch.addcmul(offset, pixels_B3SS, scale, out=out)


def prepare_image(
    image: npt.NDArray[np.uint8],
    size: int,
    device: torch.device,
    mode: Literal["bicubic", "bilinear"] = "bicubic",
) -> PreparedImage:
    """RGB uint8 (H, W, 3) of any size, resized and sent to the device.

    Antialiased, on uint8: bicubic as in Meta's video path, bilinear as in its picture path. Resized
    on the host: PyTorch has this kernel for the CPU only, and small images transfer faster. An
    image that already has the size is copied, so that the result does not share memory with its
    source.
    """
    # A (1, 3, H, W) view in channels_last layout, for which PyTorch's uint8 kernel is fastest.
    pixels_13HW = view_of(image).permute(2, 0, 1).unsqueeze(0)
    height, width = image.shape[:2]
    if (height, width) == (size, size):
        pixels_13HW = pixels_13HW.clone()
    else:
        pixels_13HW = F.interpolate(pixels_13HW, (size, size), mode=mode, antialias=True)
    return PreparedImage(sent_beside(pixels_13HW, device), height, width)


def prepare_yuv(picture: YuvPicture, size: int, device: torch.device) -> PreparedImage:
    """Resize (antialiased bicubic, as for RGB images), convert to RGB, on the device.

    In this order no tensor of the source's size is made; both are linear, so that it affects only
    rounding and clamping. On a CPU planes are resized as bytes, elsewhere as float32 after the
    transfer.
    """
    luma, blue, red = (
        _resized_plane(plane, size, device)
        for plane in (picture.luma_HW, picture.blue_hw, picture.red_hw)
    )
    red_weight, blue_weight = LUMA_WEIGHTS[picture.matrix]
    green_weight = 1 - red_weight - blue_weight
    darkest, luma_span, colour_span = (0, 255, 255) if picture.full_range else (16, 219, 224)
    luma = (luma - darkest) * (255 / luma_span)
    more_red = (red - 128) * (255 / colour_span * 2 * (1 - red_weight))
    more_blue = (blue - 128) * (255 / colour_span * 2 * (1 - blue_weight))
    less_green = more_red * (red_weight / green_weight) + more_blue * (blue_weight / green_weight)
    rgb_3SS = torch.stack((luma + more_red, luma - less_green, luma + more_blue))
    pixels_3SS = (rgb_3SS + 0.5).clamp_(0, 255).to(torch.uint8)
    return PreparedImage(pixels_3SS.unsqueeze(0), picture.height, picture.width)


def _resized_plane(plane: Plane, size: int, device: torch.device) -> Tensor:
    if device.type == "cpu":
        pixels_11hw = view_of(plane)[None, None]
    else:
        pixels_11hw = sent_beside(view_of(plane), device)[None, None].float()
    if plane.shape != (size, size):
        pixels_11hw = F.interpolate(pixels_11hw, (size, size), mode="bicubic", antialias=True)
    return pixels_11hw[0, 0].float()


@cache
def _normalisation(device: torch.device) -> tuple[Tensor, Tensor]:
    mean, deviation = sent(torch.tensor((IMAGE_MEAN, IMAGE_STD)), device).view(2, 3, 1, 1)
    return 1 / (255 * deviation), -mean / deviation


def points_to_model(
    points_xy: npt.NDArray[np.float32], height: int, width: int, size: int
) -> npt.NDArray[np.float32]:
    """Source pixels (..., 2) -> model pixels."""
    return points_xy * np.array((size / width, size / height), dtype=np.float32)


def mask_to_model(mask: npt.NDArray[np.bool_], size: int) -> Tensor:
    """A boolean (H, W) mask prompt -> (1, S, S) float of 0 and 1, on the host."""
    pixels = view_of(mask)[None, None].float()
    if mask.shape != (size, size):
        pixels = F.interpolate(
            pixels, (size, size), mode="bilinear", align_corners=False, antialias=True
        )
    return (pixels[0] >= 0.5).float()


def resize_logits(logits_n1hw: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, half-pixel centres: (n, 1, h, w) -> (n, 1, height, width)."""
    return F.interpolate(logits_n1hw, (height, width), mode="bilinear", align_corners=False)
