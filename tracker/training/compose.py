"""Clips composed on the fly from cut-outs, procedural blobs and backgrounds, with true masks.

Layers over a photograph, a video or a texture; each moves, turns, grows, bends, swings its lower
part like legs, and may leave or vanish and return; some are look-alikes of a tracked object, some
occluders. In some clips the photograph's objects are tracked and all layers are occluders. A moving
camera shifts and zooms everything. The whole batch is drawn with one ``grid_sample`` per layer on
the generator's device.

Dimensions: B clips, T frames, K tracked objects, L layers (tracked ones first), S image side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.training.assets import SPRITE_SIZE, Assets
from tracker.training.backdrop import Camera, backdrop, move_camera, things_tracked
from tracker.training.clip import ClipBatch
from tracker.training.degrade import degrade
from tracker.training.procedural import sprites, uniform
from tracker.training.sources import draw_group, draw_item

_EXTRA_LAYERS = 2
_SMALLEST_SIDE_PIXELS = 22.0
_TINY_SIDES_PIXELS = (7.0, 22.0)
_THIN_SHARE = 0.2
_SWINGING_SHARE = 0.4
_JUMP_SHARE = 0.4
_PHOTO_LAYER_SHARE = 0.4
_LARGEST_SIDE_SHARE = 1.1
_PROCEDURAL_SPRITES = 8
_PROCEDURAL_SHARE = 0.2
_RETEXTURED_SHARE = 0.2
_LOOK_ALIKE_SHARE = 0.35
_CROSSING_SHARE = 0.45
_LEAVING_SHARE = 0.3
# Of things that touch: how many are of one source (two persons, two balls), and how far their
# centres lie apart, in sums of their half sides.
_SAME_SOURCE_SHARE = 0.5
_CONTACT_DISTANCES = (0.45, 0.95)


@dataclass(frozen=True, slots=True)
class Kinds:
    """Shares of rare events in a composition, see ``Phase``."""

    hidden: float = 0.0
    small: float = 0.0
    photo: float = 0.0
    contact: float = 0.0


@dataclass(frozen=True, slots=True)
class _Paths:
    """Placement of every layer on every frame; lengths in half image sides.

    ``centre_BTL2`` (x, y), ``size_BTL2`` half width and half height, ``angle_BTL``.
    """

    centre_BTL2: Tensor
    size_BTL2: Tensor
    angle_BTL: Tensor


def compose(
    assets: Assets,
    generator: torch.Generator,
    clips: int,
    frames: int,
    objects: int,
    size: int,
    motion: float,
    kinds: Kinds | None = None,
) -> ClipBatch:
    """One batch; with ``motion`` 1 layers move by up to a tenth of the picture per frame."""
    kinds = kinds or Kinds()
    layers = objects + _EXTRA_LAYERS
    paths = _move(generator, clips, frames, layers, size, motion, kinds.small)
    touching_B = uniform(generator, clips) < (kinds.contact if objects > 1 else 0.0)
    paths = _bring_together(generator, paths, touching_B, motion)
    rgba_BTL = _choose_sprites(assets, generator, clips, frames, layers, motion, touching_B)
    camera = move_camera(generator, clips, frames, motion)
    behind = backdrop(assets, generator, clips, frames, size, camera, kinds.photo)
    images = behind.images_BT3SS
    order_BL = uniform(generator, clips, layers).argsort(dim=1)
    present_BTL, paths = _hide(generator, paths, kinds.hidden)
    # Over a photograph whose own things are tracked only some layers pass by.
    few = uniform(generator, clips, 1, layers) < _PHOTO_LAYER_SHARE
    present_BTL = present_BTL * (few | ~behind.photo_B[:, None, None])
    paths = _seen_by(camera, paths)

    alpha_by_depth: list[Tensor] = []
    clip_index = torch.arange(clips, device=generator.device)
    for depth in range(layers):
        layer_B = order_BL[:, depth]
        drawn = _draw(
            generator,
            rgba_BTL[clip_index, :, layer_B],
            _Paths(
                paths.centre_BTL2[clip_index, :, layer_B],
                paths.size_BTL2[clip_index, :, layer_B],
                paths.angle_BTL[clip_index, :, layer_B],
            ),
            size,
            motion,
        )
        seen_BT = present_BTL[clip_index, :, layer_B]
        colour, alpha = drawn[:, :, :3], drawn[:, :, 3:] * seen_BT[..., None, None, None]
        images = images * (1 - alpha) + colour * alpha
        alpha_by_depth = [below * (1 - alpha) for below in alpha_by_depth]
        alpha_by_depth.append(alpha)
    visible_BTLSS = torch.cat(alpha_by_depth, dim=2)
    depth_of_layer = order_BL.argsort(dim=1)[:, :objects]
    masks = visible_BTLSS[clip_index[:, None], :, depth_of_layer].transpose(1, 2) > 0.5
    if bool(behind.photo_B.any()):
        free_BTSS = visible_BTLSS.sum(dim=2) < 0.5
        things = things_tracked(behind.things_BTSS, free_BTSS, objects, generator)
        masks = torch.where(behind.photo_B.view(-1, 1, 1, 1, 1), things, masks)
    return ClipBatch(degrade(images.clamp(0, 1), generator), masks)


def _move(
    generator: torch.Generator,
    clips: int,
    frames: int,
    layers: int,
    size: int,
    motion: float,
    small_share: float,
) -> _Paths:
    device = generator.device
    time = torch.arange(frames, device=device, dtype=torch.float32).view(1, frames, 1, 1)
    start = uniform(generator, clips, 1, layers, 2, low=-0.75, high=0.75)
    direction = torch.randn(clips, 1, layers, 2, generator=generator, device=device)
    velocity = 0.09 * motion * direction
    # Layer 1 often starts so that it meets layer 0 in the middle of the clip.
    meets = uniform(generator, clips, 1) < _CROSSING_SHARE
    meeting_time = uniform(generator, clips, 1, low=0.5, high=max(1.0, frames - 1.0))
    if layers > 1:
        met = start[:, 0, 0] + (velocity[:, 0, 0] - velocity[:, 0, 1]) * meeting_time
        start[:, 0, 1] = torch.where(meets, met, start[:, 0, 1])
    wobble = 0.05 * motion * torch.randn(clips, 1, layers, 2, generator=generator, device=device)
    phase = uniform(generator, clips, 1, layers, 2, high=2 * math.pi)
    rate = uniform(generator, clips, 1, layers, 2, low=0.3, high=1.2)
    path = start + velocity * time + wobble * (torch.sin(rate * time + phase) - torch.sin(phase))
    # Some leave the picture and come back within the clip.
    leaves = uniform(generator, clips, 1, layers, 1) < _LEAVING_SHARE * min(1.0, motion)
    outward = torch.where(start > 0, 1.0, -1.0) * torch.tensor([1.6, 0.3], device=device)
    absence = torch.sin(math.pi * time / max(1, frames - 1)).clamp(min=0) ** 2
    path = torch.where(leaves, start + outward * absence, path)

    smallest, largest = math.log(_SMALLEST_SIDE_PIXELS / size), math.log(_LARGEST_SIDE_SHARE)
    side = uniform(generator, clips, 1, layers, 1, low=smallest, high=largest).exp()
    tiny = uniform(
        generator,
        clips,
        1,
        layers,
        1,
        low=math.log(_TINY_SIDES_PIXELS[0] / size),
        high=math.log(_TINY_SIDES_PIXELS[1] / size),
    ).exp()
    side = torch.where(uniform(generator, clips, 1, layers, 1) < small_share, tiny, side)
    growth = torch.randn(clips, 1, layers, 1, generator=generator, device=device)
    aspect = uniform(generator, clips, 1, layers, 1, low=-0.25, high=0.25)
    thin = uniform(generator, clips, 1, layers, 1) < _THIN_SHARE
    aspect = torch.where(thin, 3.5 * aspect, aspect)
    breath = 0.06 * motion * torch.sin(rate * time + phase)
    stretch = torch.cat((aspect, -aspect), dim=3) + breath
    half_size = side * (0.04 * motion * growth * time + stretch).clamp(-1, 1).exp()

    turn = torch.randn(2, clips, 1, layers, generator=generator, device=device)
    angle = 0.25 * turn[0] + 0.07 * motion * turn[1] * time[..., 0]
    return _Paths(path, half_size, angle)


def _bring_together(
    generator: torch.Generator, paths: _Paths, touching_B: Tensor, motion: float
) -> _Paths:
    """Paths on which layer 1 stays beside layer 0, sliding around it, for the whole clip."""
    clips, frames, layers = paths.angle_BTL.shape
    device = generator.device
    if layers < 2 or not bool(touching_B.any()):
        return paths
    time = torch.arange(frames, device=device).view(1, frames)
    # As large as each other within limits: a speck beside a giant is no contact.
    ratio = uniform(generator, clips, 1, 1, low=-0.7, high=0.7).exp()
    size = paths.size_BTL2.clone()
    size[:, :, 1] = torch.where(
        touching_B[:, None, None], (size[:, :, 0] * ratio).clamp(0.08, 0.7), size[:, :, 1]
    )
    around = uniform(generator, clips, 1, high=2 * math.pi)
    slide = 0.25 * motion * torch.randn(clips, 1, generator=generator, device=device)
    angle = around + slide * time
    low, high = _CONTACT_DISTANCES
    distance = uniform(generator, clips, 1, 1, low=low, high=high)
    reach = distance * (size[:, :, 0] + size[:, :, 1])
    beside = paths.centre_BTL2[:, :, 0] + reach * torch.stack((angle.cos(), angle.sin()), dim=-1)
    centre = paths.centre_BTL2.clone()
    centre[:, :, 1] = torch.where(touching_B[:, None, None], beside, centre[:, :, 1])
    return replace(paths, centre_BTL2=centre, size_BTL2=size)


def _choose_sprites(
    assets: Assets,
    generator: torch.Generator,
    clips: int,
    frames: int,
    layers: int,
    motion: float,
    touching_B: Tensor,
) -> Tensor:
    """(B, T, L, 4, side, side) float: the picture of each layer on each frame."""
    device = generator.device
    count = clips * layers
    # A few procedural things serve the whole batch: making them is dear.
    few = sprites(generator, min(count, _PROCEDURAL_SPRITES), SPRITE_SIZE)
    made = few[torch.randint(0, len(few), (count,), generator=generator, device=device)]
    chosen = made.unsqueeze(1).expand(-1, frames, -1, -1, -1)
    if assets.views:
        alike = touching_B & (uniform(generator, clips) < _SAME_SOURCE_SHARE)
        rows_chosen: list[list[int]] = []
        for clip in range(clips):
            source = None
            for layer in range(layers):
                row, source = _pick_views(
                    assets,
                    generator,
                    frames,
                    motion,
                    source if layer == 1 and alike[clip] else None,
                )
                rows_chosen.append(row)
        index = torch.tensor(rows_chosen, device=device)
        pictures = assets.sprites[index].float() / 255
        pictures[:, :, :3] = _recolour(pictures[:, :, :3], made[:, :3], generator)
        procedural = uniform(generator, count, 1, 1, 1, 1) < _PROCEDURAL_SHARE
        chosen = torch.where(procedural, chosen, pictures)
        mirrored = uniform(generator, count, 1, 1, 1, 1) < 0.5
        chosen = torch.where(mirrored, chosen.flip(4), chosen)
    rgba: Tensor = chosen.unflatten(0, (clips, layers)).transpose(1, 2).contiguous()
    if layers > 1:
        # The look-alike of object 0 is object 1 or, as often, an untracked object.
        twin = torch.where(uniform(generator, clips) < 0.5, 1, layers - 1)
        alike = uniform(generator, clips, 1, 1, 1, 1) < _LOOK_ALIKE_SHARE
        rows = torch.arange(clips, device=device)
        rgba[rows, :, twin] = torch.where(alike, rgba[:, :, 0], rgba[rows, :, twin])
    return rgba


def _pick_views(
    assets: Assets, generator: torch.Generator, frames: int, motion: float, source: int | None
) -> tuple[list[int], int]:
    """Cut-out indexes over time, one picture or the views of a turning object; and the source.

    ``source``: the index of the group to choose from, None for any.
    """

    def integer(high: int) -> int:
        return int(torch.randint(0, high, (), generator=generator, device=generator.device))

    if source is None:
        source = draw_group(assets.groups, generator)
    base, count = assets.views[draw_item(assets.groups[source], generator)]
    start, speed = integer(count), integer(5) - 2 if motion > 0.3 else 0
    return [base + (start + speed * frame) % count for frame in range(frames)], source


def _recolour(colour: Tensor, texture: Tensor, generator: torch.Generator) -> Tensor:
    """Random channel gains and textures painted over some: (n, T, 3, S, S) -> the same."""
    count = colour.shape[0]
    gain = uniform(generator, count, 1, 3, 1, 1, low=0.55, high=1.35)
    painted = uniform(generator, count, 1, 1, 1, 1) < _RETEXTURED_SHARE
    strength = uniform(generator, count, 1, 1, 1, 1, low=0.4, high=1.0)
    mixed = colour * (1 - strength) + texture.unsqueeze(1) * strength
    return torch.where(painted, mixed, colour * gain).clamp(0, 1)


def _hide(generator: torch.Generator, paths: _Paths, share: float) -> tuple[Tensor, _Paths]:
    """Presence of layers by frame (B, T, L), and paths: some return elsewhere.

    A hidden layer is absent for some consecutive frames after the first.
    """
    clips, frames, layers = paths.angle_BTL.shape
    device = generator.device
    time = torch.arange(frames, device=device).view(1, frames, 1)
    hides = uniform(generator, clips, 1, layers) < (share if frames > 2 else 0.0)
    first = 1 + uniform(generator, clips, 1, layers) * max(0, frames - 2)
    length = 1 + uniform(generator, clips, 1, layers) * max(1, frames - 3)
    gone = hides & (time >= first) & (time < first + length)
    jumps = hides & (time >= first) & (uniform(generator, clips, 1, layers) < _JUMP_SHARE)
    place = uniform(generator, clips, 1, layers, 2, low=-0.75, high=0.75)
    moved = paths.centre_BTL2 - paths.centre_BTL2[:, :1] + place
    centre = torch.where(jumps.unsqueeze(3), moved, paths.centre_BTL2)
    return (~gone).float(), replace(paths, centre_BTL2=centre)


def _seen_by(camera: Camera, paths: _Paths) -> _Paths:
    """Paths in the picture of the moving camera."""
    zoom = camera.zoom_BT[:, :, None, None]
    return _Paths(
        (paths.centre_BTL2 + camera.shift_BT2.unsqueeze(2)) * zoom,
        paths.size_BTL2 * zoom,
        paths.angle_BTL,
    )


def _draw(
    generator: torch.Generator, rgba_BT4: Tensor, path: _Paths, size: int, motion: float
) -> Tensor:
    """One layer on every frame, (B, T, 4, S, S); ``path`` has no L dimension here."""
    clips, frames = rgba_BT4.shape[:2]
    device = generator.device
    axis = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) / size * 2 - 1
    centre, half_size, angle = path.centre_BTL2, path.size_BTL2, path.angle_BTL
    x = axis.view(1, 1, 1, size) - centre[..., 0, None, None]
    y = axis.view(1, 1, size, 1) - centre[..., 1, None, None]
    cosine, sine = angle.cos()[..., None, None], angle.sin()[..., None, None]
    u = (x * cosine + y * sine) / half_size[..., 0, None, None]
    v = (y * cosine - x * sine) / half_size[..., 1, None, None]
    # Bending: each row is shifted by a travelling wave, and each column by another.
    depth, pitch, phase = (
        uniform(generator, 2, clips, 1, 1, 1, low=low, high=high)
        for low, high in ((0.0, 0.1), (1.0, 4.0), (0.0, 2 * math.pi))
    )
    time = torch.arange(frames, device=device).view(1, frames, 1, 1) * motion
    bent_u = u + depth[0] * torch.sin(pitch[0] * v + phase[0] + time)
    bent_v = v + depth[1] * torch.sin(pitch[1] * u + phase[1] + time)
    # Swinging: below the middle the two sides move against each other, as legs do.
    swings = uniform(generator, clips, 1, 1, 1) < _SWINGING_SHARE
    reach = torch.where(swings, uniform(generator, clips, 1, 1, 1, high=0.35), 0.0)
    pace = uniform(generator, clips, 1, 1, 1, low=0.8, high=2.5)
    side = torch.tanh(6 * bent_u)
    bent_u = bent_u + reach * torch.sin(pace * time) * side * bent_v.clamp(min=0)
    grid = torch.stack((bent_u, bent_v), dim=-1).flatten(0, 1)
    drawn = F.grid_sample(rgba_BT4.flatten(0, 1), grid, align_corners=False)
    split: Tensor = drawn.unflatten(0, (clips, frames))
    return split
