"""The background of a composed clip, and its moving camera.

A photograph, a video or a texture, larger than the picture: the camera's window into it pans and
zooms. Photographs with instance maps also give the masks of their objects.

Dimensions: B clips, T frames, K tracked objects, S image side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.training.assets import Assets
from tracker.training.procedural import textures, uniform
from tracker.training.sources import draw_group, draw_item

_VIDEO_SHARE = 0.5
_SMALLEST_THING_PIXELS = 60
_TURNING_CAMERA_SHARE = 0.15
_PROCEDURAL_BACKGROUNDS = 3
_PROCEDURAL_BACKGROUND_SHARE = 0.35


@dataclass(frozen=True, slots=True)
class Camera:
    """Camera motion: ``shift_BT2`` in half image sides, ``zoom_BT`` 1 on frame 0."""

    shift_BT2: Tensor
    zoom_BT: Tensor


@dataclass(frozen=True, slots=True)
class Backdrop:
    """Images (B, T, 3, S, S) behind all layers; ``things_BTSS``: object ids in a photograph where
    ``photo_B``, else 0."""

    images_BT3SS: Tensor
    things_BTSS: Tensor
    photo_B: Tensor


def move_camera(generator: torch.Generator, clips: int, frames: int, motion: float) -> Camera:
    """Pan, zoom and shake, none on frame 0; some cameras turn away and back."""
    device = generator.device
    pan = 0.03 * motion * torch.randn(clips, 1, 2, generator=generator, device=device)
    still = uniform(generator, clips, 1, 1) < 0.3
    tremble = 0.008 * motion * torch.randn(clips, frames, 2, generator=generator, device=device)
    time = torch.arange(frames, device=device).view(1, frames, 1)
    shift = pan * time + tremble
    turns = uniform(generator, clips, 1, 1) < _TURNING_CAMERA_SHARE * min(1.0, motion)
    away = uniform(generator, clips, 1, 1, high=2 * math.pi)
    reach = uniform(generator, clips, 1, 1, low=0.5, high=1.6)
    course = (1.5 * torch.sin(math.pi * time / max(1, frames - 1))).clamp(max=1)
    turned = torch.cat((away.cos(), away.sin()), dim=2) * reach * course
    shift = shift + torch.where(turns, turned, 0.0)
    rate = 0.03 * motion * torch.randn(clips, 1, generator=generator, device=device)
    zoom = (rate * time[..., 0]).clamp(-0.5, 0.5).exp()
    return Camera(
        torch.where(still, 0.0, shift - shift[:, :1]), torch.where(still[..., 0], 1.0, zoom)
    )


def backdrop(
    assets: Assets,
    generator: torch.Generator,
    clips: int,
    frames: int,
    size: int,
    camera: Camera,
    photo_share: float,
) -> Backdrop:
    """A window into a photograph, a video or a texture that moves with the camera."""
    device = generator.device
    side = assets.backgrounds.shape[-1]
    few = textures(generator, min(clips, _PROCEDURAL_BACKGROUNDS), side)
    pictures = few[torch.randint(0, len(few), (clips,), generator=generator, device=device)]
    repeated = pictures.unsqueeze(1).expand(-1, frames, -1, -1, -1)
    things = torch.zeros(clips, 1, side, side, dtype=torch.uint8, device=device)
    photo = torch.zeros(clips, dtype=torch.bool, device=device)
    if len(assets.backgrounds):
        rows = [_pick_background(assets, generator, frames) for _ in range(clips)]
        photos = assets.backgrounds[torch.tensor(rows, device=device)].float() / 255
        made = uniform(generator, clips, 1, 1, 1, 1) < _PROCEDURAL_BACKGROUND_SHARE
        repeated = torch.where(made, repeated, photos)
    if assets.photograph_groups:
        groups = assets.photograph_groups
        drawn_of = [groups[draw_group(groups, generator)] for _ in range(clips)]
        chosen = torch.tensor([draw_item(each, generator) for each in drawn_of], device=device)
        photo = uniform(generator, clips) < photo_share
        index = torch.tensor(assets.photographs, device=device)[chosen]
        shown = assets.backgrounds[index].float().unsqueeze(1) / 255
        repeated = torch.where(photo.view(-1, 1, 1, 1, 1), shown, repeated)
        things = torch.where(photo.view(-1, 1, 1, 1), assets.instances[chosen].unsqueeze(1), things)
    zoom = uniform(generator, clips, 1, low=0.35, high=0.85)
    zoom = torch.where(photo[:, None], zoom.sqrt(), zoom)
    origin = uniform(generator, clips, 1, 2, low=-1, high=1) * (1 - zoom[..., None])
    theta = torch.zeros(clips, frames, 2, 3, device=device)
    theta[..., 0, 0] = theta[..., 1, 1] = zoom / camera.zoom_BT
    theta[..., 2] = origin - camera.shift_BT2 * zoom[..., None]
    grid = F.affine_grid(theta.flatten(0, 1), [clips * frames, 3, size, size], align_corners=False)
    drawn = F.grid_sample(
        repeated.flatten(0, 1), grid, padding_mode="reflection", align_corners=False
    )
    known = F.grid_sample(
        things.repeat_interleave(frames, dim=0).float(),
        grid,
        mode="nearest",
        padding_mode="reflection",
        align_corners=False,
    )
    return Backdrop(
        drawn.unflatten(0, (clips, frames)), known[:, 0].unflatten(0, (clips, frames)), photo
    )


def _pick_background(assets: Assets, generator: torch.Generator, frames: int) -> list[int]:
    """Background indexes over time: one picture for all frames, or frames of a video."""

    def integer(high: int) -> int:
        return int(torch.randint(0, high, (), generator=generator, device=generator.device))

    if assets.videos and float(uniform(generator)) < _VIDEO_SHARE:
        first, count = assets.videos[integer(len(assets.videos))]
        stride = 1 + integer(4)
        stride = min(stride, max(1, (count - 1) // max(1, frames - 1)))
        start = integer(max(1, count - stride * (frames - 1)))
        return [first + min(count - 1, start + stride * frame) for frame in range(frames)]
    return [integer(len(assets.backgrounds))] * frames


def things_tracked(
    things_BTSS: Tensor, free_BTSS: Tensor, objects: int, generator: torch.Generator
) -> Tensor:
    """Masks (B, T, K, S, S) of random objects of the photographs' first frames."""
    device = generator.device
    masks = []
    for things_TSS, free_TSS in zip(things_BTSS, free_BTSS, strict=True):
        area = torch.bincount(things_TSS[0].flatten().long(), minlength=256).tolist()
        seen = [number for number in range(1, 255) if area[number] > _SMALLEST_THING_PIXELS]
        order = torch.randperm(len(seen), generator=generator, device=device).tolist()
        ids = [*(seen[i] for i in order), *[255] * objects][:objects]
        identity = torch.tensor(ids, device=device).view(1, -1, 1, 1)
        masks.append((things_TSS.unsqueeze(1) == identity) & free_TSS.unsqueeze(1))
    return torch.stack(masks)
