"""Training clips from the rendered match: a pool of recorded scenes, randomly cropped.

Rendering is slower than training on a CPU, so a pool is rendered once (seeds below
``EVALUATION_SEED_START`` only) and kept in two memory-mapped files; a clip is a random scene,
times, window, mirror and colour. Dimensions: R scenes, F frames of a scene, B clips, T frames,
K objects, S image side.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from tracker.scenes.match import EVALUATION_SEED_START, Match
from tracker.training.clip import SMALLEST_FIRST_AREA_PIXELS, ClipBatch
from tracker.training.degrade import degrade
from tracker.training.disappear import cover, turning_windows
from tracker.training.procedural import uniform

POOL_WIDTH, POOL_HEIGHT = 384, 256
_SCENE_FRAMES = 48
_RENDER_WIDTH, _RENDER_HEIGHT = 640, 360
_RATES_HZ = (25.0, 12.5, 15.0)
_STRIDES = (1, 1, 2, 4)
"""Every how manieth frame of a scene is recorded: so scenes span two to sixteen seconds."""
_WINDOW_TRIES = 4
_ABSENCE_TRIES = 40
_UNEVEN_SHARE = 0.3
_WHOLE_AREA_PIXELS = 50.0
_ABSENT_PIXELS, _PRESENT_PIXELS = 2, 60
_SMALL_AREA_SHARE, _SMALL_BONUS = 0.3, 1.5

Array8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of the clips in which an object is hidden in the scene itself and returns
    (``absence``), the camera turns (``camera``), or an occluder is added (``covered``)."""

    absence: float = 0.0
    camera: float = 0.0
    covered: float = 0.0


class MatchPool:
    """Recorded scenes: images (R, F, H, W, 3) and owners (R, F, H, W), uint8; 0: background."""

    def __init__(self, images: Array8, owners: Array8) -> None:
        self.images = images
        self.owners = owners
        self.areas_RFI = _areas(owners)

    @property
    def scenes(self) -> int:
        """R."""
        return len(self.images)

    @staticmethod
    def open(
        folder: Path,
        scenes: int,
        seed: int,
        report: Callable[[int], None],
        processes: int = 1,
    ) -> MatchPool:
        """The pool in a folder; rendered now if missing or made with other arguments.

        ``report`` is called with the number of finished scenes after each. ``processes`` render;
        the pool is the same with any number of them.
        """
        description = {"scenes": scenes, "seed": seed, "frames": _SCENE_FRAMES, "version": 3}
        marker = folder / "pool.json"
        if not marker.exists() or json.loads(marker.read_text()) != description:
            folder.mkdir(parents=True, exist_ok=True)
            marker.unlink(missing_ok=True)
            shape = (scenes, _SCENE_FRAMES, POOL_HEIGHT, POOL_WIDTH)
            for name, extent in (("images", (*shape, 3)), ("owners", shape)):
                path = folder / f"{name}.npy"
                np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=extent).flush()
            jobs = [(folder, scene, seed * scenes + scene) for scene in range(scenes)]
            if processes == 1:
                for done, job in enumerate(jobs, 1):
                    _record_row(*job)
                    report(done)
            else:
                # Spawned, not forked: the command's progress bar is a thread.
                with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
                    running = [pool.submit(_record_row, *job) for job in jobs]
                    for done, each in enumerate(as_completed(running), 1):
                        each.result()
                        report(done)
            marker.write_text(json.dumps(description))
        return MatchPool(
            np.load(folder / "images.npy", mmap_mode="r"),
            np.load(folder / "owners.npy", mmap_mode="r"),
        )

    def compose(
        self,
        generator: torch.Generator,
        clips: int,
        frames: int,
        objects: int,
        size: int,
        full_size: int,
        motion: float,
        shares: Shares | None = None,
    ) -> ClipBatch:
        """A batch. ``full_size``: the model's image side; a smaller ``size`` crops the scene at the
        same scale."""
        made = [
            self._clip(generator, frames, objects, size, full_size, motion, shares or Shares())
            for _ in range(clips)
        ]
        images = torch.stack([images for images, _ in made])
        masks = torch.stack([masks for _, masks in made])
        return ClipBatch(degrade(_recolour(images, generator), generator), masks)

    def _clip(
        self,
        generator: torch.Generator,
        frames: int,
        objects: int,
        size: int,
        full_size: int,
        motion: float,
        shares: Shares,
    ) -> tuple[Tensor, Tensor]:
        """(T, 3, S, S) and (T, K, S, S): the first of a few tries with enough visible objects."""
        device = generator.device
        draw = torch.rand(3, generator=generator, device=device).tolist()
        wants_absence = frames > 2 and draw[0] < shares.absence
        turns = frames > 2 and not wants_absence and draw[1] < shares.camera
        for _ in range(_WINDOW_TRIES):
            scene, rows = self._moments(generator, frames, motion, wants_absence)
            if turns:
                grid = turning_windows(generator, frames, size, full_size)
            else:
                grid = _window(generator, size, full_size, 0.0 if wants_absence else 1.0)
                grid = grid.expand(frames, -1, -1, -1)
            owner = torch.from_numpy(np.array(self.owners[scene, rows])).to(device)
            seen = F.grid_sample(
                owner.float().unsqueeze(1),
                grid,
                mode="nearest",
                align_corners=False,
            ).squeeze(1)
            chosen = _choose_objects(generator, seen, objects)
            if len(chosen) >= objects:
                break
        image = torch.from_numpy(np.array(self.images[scene, rows])).to(device)
        pictures = image.permute(0, 3, 1, 2).float() / 255
        shown = F.grid_sample(
            pictures,
            grid,
            padding_mode="reflection",
            align_corners=False,
        )
        if frames > 2 and chosen and draw[2] < shares.covered:
            shown, seen = cover(generator, shown, seen, chosen[0])
        # Missing objects get an unused id: their masks are empty and do not count.
        identity = torch.tensor([*chosen, *[254] * objects][:objects], device=device)
        return shown, seen.unsqueeze(1) == identity.view(1, -1, 1, 1)

    def _moments(
        self, generator: torch.Generator, frames: int, motion: float, wants_absence: bool
    ) -> tuple[int, list[int]]:
        """A scene and the frames of a clip; on request such that an object leaves and returns.

        Mostly evenly spaced, as from a camera, otherwise with gaps, as after dropped frames.
        """
        last = self.images.shape[1] - 1
        longest = max(1, last // max(1, frames - 1))
        scene, rows = 0, [0]
        for _ in range(_ABSENCE_TRIES if wants_absence else 1):
            scene = _integer(generator, self.scenes)
            widest = longest if wants_absence else min(longest, 1 + round(5 * motion))
            stride = 1 + _integer(generator, widest)
            start = _integer(generator, last + 1 - stride * (frames - 1))
            rows = list(range(start, start + stride * (frames - 1) + 1, stride))
            if frames > 2 and float(uniform(generator)) < _UNEVEN_SHARE:
                span = rows[-1] - start - 1
                order = torch.randperm(max(span, 1), generator=generator, device=generator.device)
                if span >= frames - 2:
                    inner = sorted(int(i) for i in order[: frames - 2])
                    rows = [start, *(start + 1 + i for i in inner), rows[-1]]
            if wants_absence and _returns(self.areas_RFI[scene, rows]).any():
                break
        return scene, rows


def _record_row(folder: Path, scene: int, seed: int) -> None:
    """Render one scene into the files of a pool, from any process."""
    images, owners = (
        np.lib.format.open_memmap(folder / f"{name}.npy", mode="r+")[scene]
        for name in ("images", "owners")
    )
    _record(images, owners, seed)
    images.base.flush()
    owners.base.flush()


def _record(images: Array8, owners: Array8, seed: int) -> None:
    """Render one scene of a random kind into its rows of the pool."""
    if not 0 <= seed < EVALUATION_SEED_START:
        raise ValueError(f"training seeds end below {EVALUATION_SEED_START}, got {seed}")
    draw = np.random.default_rng([seed, 99])
    match = Match(
        seed,
        _RENDER_WIDTH,
        _RENDER_HEIGHT,
        float(draw.choice(_RATES_HZ)),
        players=int(draw.integers(4, 12)),
        occluders=int(draw.integers(0, 3)),
        pan=float(draw.choice([0.0, 0.0, 0.1, 0.2])),
        look_alikes=bool(draw.random() < 0.35),
        ball_diameter=float(draw.uniform(0.032, 0.07)),
        pace=float(draw.uniform(0.35, 1.5)),
        noise=float(draw.uniform(0, 5)),
        lighting=float(draw.uniform(0, 0.15)),
    )
    start = int(draw.integers(0, 4000))
    stride = int(draw.choice(_STRIDES))
    for index in range(images.shape[0]):
        frame = match.render(start + stride * index)
        owner = np.zeros((_RENDER_HEIGHT, _RENDER_WIDTH), dtype=np.uint8)
        for object_id, mask in frame.masks.items():
            owner[mask] = object_id
        size = (POOL_WIDTH, POOL_HEIGHT)
        images[index] = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
        owners[index] = cv2.resize(owner, size, interpolation=cv2.INTER_NEAREST)


def _areas(owners: Array8) -> npt.NDArray[np.int32]:
    """Pixels of every object on every frame, (R, F, 16); column 0 is the background."""
    most = 16
    counts = [
        [np.bincount(frame.ravel(), minlength=256)[:most] for frame in scene] for scene in owners
    ]
    return np.asarray(counts, dtype=np.int32)


def _returns(areas_TI: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Objects visible on the first frame, absent on a later one, and visible again after it."""
    gone = np.logical_or.accumulate(areas_TI <= _ABSENT_PIXELS, axis=0)
    back = (gone & (areas_TI > _PRESENT_PIXELS)).any(axis=0)
    back &= areas_TI[0] > _PRESENT_PIXELS
    back[0] = False
    return np.asarray(back)


def _window(generator: torch.Generator, size: int, full_size: int, variety: float) -> Tensor:
    """A sampling grid (1, S, S, 2): part of the scene, squashed as in the tracker.

    A whole 16:9 frame becomes a square; the squash varies a little, the zoom more (by ``variety``,
    0..1).
    """
    zoom = float((variety * uniform(generator, low=-0.45, high=0.08)).exp())
    squash = float(uniform(generator, low=-0.25, high=0.1).exp())
    share = size / full_size
    half_x, half_y = min(1.0, zoom * squash) * share, min(1.0, zoom) * share
    x = float(uniform(generator, low=half_x - 1, high=1 - half_x + 1e-6))
    y = float(uniform(generator, low=half_y - 1, high=1 - half_y + 1e-6))
    mirror = -1.0 if float(uniform(generator)) < 0.5 else 1.0
    theta = torch.tensor([[[mirror * half_x, 0, x], [0, half_y, y]]], device=generator.device)
    return F.affine_grid(theta, [1, 1, size, size], align_corners=False)


def _choose_objects(generator: torch.Generator, seen_TSS: Tensor, objects: int) -> list[int]:
    """Ids to track, visible on the first frame; preferably hidden later or meeting others."""
    areas = torch.stack(
        [torch.bincount(frame.flatten().long(), minlength=256) for frame in seen_TSS]
    ).float()
    first = areas[0]
    # One transfer: each read of a device's number would wait for its queue.
    large = (first > SMALLEST_FIRST_AREA_PIXELS).tolist()
    candidates = [number for number in range(1, 255) if large[number]]
    if not candidates:
        return []
    hidden = 1 - areas.amin(dim=0) / areas.amax(dim=0).clamp(min=1)
    hidden += torch.from_numpy(_returns(areas.numpy(force=True).astype(np.int32))).to(hidden)
    # The ball is one of many objects and lost most often: small objects are chosen more often.
    hidden += _SMALL_BONUS * (first < _SMALL_AREA_SHARE * first[candidates].median())
    # Slivers at the picture's border are frequent and of little use.
    whole = (first[candidates] / _WHOLE_AREA_PIXELS).clamp(max=1)
    weight = (0.4 + hidden[candidates]) * whole
    count = min(objects, len(candidates))
    order = torch.multinomial(weight, count, generator=generator)
    return [candidates[int(i)] for i in order]


def _recolour(images_BT3SS: Tensor, generator: torch.Generator) -> Tensor:
    """Swap colour channels on some clips, for other kits and pitches."""
    clips = images_BT3SS.shape[0]
    swapped = torch.stack(
        [torch.randperm(3, generator=generator, device=generator.device) for _ in range(clips)]
    )
    keep = uniform(generator, clips) < 0.7
    order = torch.where(keep[:, None], torch.arange(3, device=generator.device), swapped)
    index = order.view(clips, 1, 3, 1, 1).expand_as(images_BT3SS)
    return images_BT3SS.gather(2, index)


def _integer(generator: torch.Generator, high: int) -> int:
    return int(torch.randint(0, high, (), generator=generator, device=generator.device))
