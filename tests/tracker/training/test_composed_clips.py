"""Composed clips: true masks that fit the pictures, the same for the same seed."""

from __future__ import annotations

import tarfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from tests.tracker.evaluation import layouts
from tracker.evaluation.readers.photographs import photograph_clips
from tracker.training.assets import SPRITE_SIZE, AssetError, Assets, load_assets
from tracker.training.clip import SMALLEST_FIRST_AREA_PIXELS, ClipBatch
from tracker.training.compose import Kinds, compose


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def composed(seed: int, motion: float = 1.0, assets: Assets | None = None) -> ClipBatch:
    return compose(assets or load_assets(None), seeded(seed), 3, 4, 2, 64, motion)


def test_a_clip_is_a_pure_function_of_its_seed() -> None:
    first, again, other = composed(1), composed(1), composed(2)
    assert torch.equal(first.images_BT3SS, again.images_BT3SS)
    assert torch.equal(first.masks_BTKSS, again.masks_BTKSS)
    assert not torch.equal(first.images_BT3SS, other.images_BT3SS)


def test_pictures_are_in_range_and_a_pixel_belongs_to_one_object_at_most() -> None:
    batch = composed(3)
    assert batch.images_BT3SS.shape == (3, 4, 3, 64, 64)
    assert batch.masks_BTKSS.shape == (3, 4, 2, 64, 64)
    assert float(batch.images_BT3SS.min()) >= 0
    assert float(batch.images_BT3SS.max()) <= 1
    assert int(batch.masks_BTKSS.sum(dim=2).max()) == 1
    assert bool(batch.counted().any())


def test_without_motion_nothing_moves_and_with_it_things_do() -> None:
    still, moving = composed(4, motion=0.0).masks_BTKSS, composed(4).masks_BTKSS
    assert torch.equal(still[:, 0], still[:, 3])
    assert not torch.equal(moving[:, 0], moving[:, 3])


def test_the_mask_lies_where_the_picture_was_painted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracker.training.compose._EXTRA_LAYERS", 0)
    monkeypatch.setattr("tracker.training.compose._PROCEDURAL_SHARE", 0.0)
    monkeypatch.setattr("tracker.training.compose._RETEXTURED_SHARE", 0.0)
    monkeypatch.setattr("tracker.training.backdrop._PROCEDURAL_BACKGROUND_SHARE", 0.0)
    # One flat magenta cut-out over a grey photograph: magenta and mask must agree.
    sprite = torch.zeros(1, 4, SPRITE_SIZE, SPRITE_SIZE, dtype=torch.uint8)
    sprite[:, [0, 2, 3], 10:-10, 10:-10] = 255
    grey = torch.full((1, 3, 64, 64), 128, dtype=torch.uint8)
    assets = Assets(sprite, ((0, 1),), ((0, 1),), grey)
    agreements = []
    for seed in range(6):
        batch = compose(assets, seeded(seed), 2, 1, 1, 64, 1.0)
        red, green, blue = batch.images_BT3SS[:, 0].unbind(1)
        mask = batch.masks_BTKSS[:, 0, 0]
        magenta = torch.minimum(red, blue) - green
        if mask.any() and not mask.all():
            agreements.append(float(magenta[mask].mean() - magenta[~mask].mean()))
    assert len(agreements) > 4
    assert min(agreements) > 0.25


def test_cut_outs_photographs_and_views_are_read_from_folders_and_tars(tmp_path: Path) -> None:
    rgba = np.zeros((40, 20, 4), dtype=np.uint8)
    rgba[5:35, 5:15] = (200, 10, 10, 255)
    for view in range(3):
        folder = tmp_path / "turning" / "cup"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rgba).save(folder / f"{view}.png")
    with tarfile.open(tmp_path / "turning.tar", "w") as archive:
        archive.add(tmp_path / "turning" / "cup", arcname="cup")
    coco = tmp_path / "photos"
    (coco / "images").mkdir(parents=True)
    (coco / "instances").mkdir()
    Image.fromarray(np.full((100, 120, 3), 90, dtype=np.uint8)).save(coco / "images" / "a.jpg")
    instances = np.zeros((100, 120), dtype=np.uint8)
    instances[10:80, 10:80] = 1
    Image.fromarray(instances).save(coco / "instances" / "a.png")
    forbidden = tmp_path / "eval"
    forbidden.mkdir()
    Image.fromarray(rgba).save(forbidden / "never.png")

    assets = load_assets(tmp_path)

    assert len(assets.backgrounds) == 1
    assert sorted(count for _, count in assets.views) == [1, 1, 1, 1, 3]
    assert len(assets.groups) == 3
    assert assets.sprites.shape == (7, 4, SPRITE_SIZE, SPRITE_SIZE)
    assert assets.photographs == (0,)
    assert assets.photograph_groups == ((0, 1),)
    assert assets.instances.unique().tolist() == [0, 1]


def test_photographs_that_a_model_is_judged_by_are_left_out(tmp_path: Path) -> None:
    layouts.photographs(tmp_path / "many", 64)
    layouts.photographs(tmp_path / "few", 3)
    assets = load_assets(tmp_path)
    assert assets.photograph_groups == ((0, 3), (3, 63))
    (judged,) = (photograph_clips([tmp_path / "many"], 16, held_out=True),)
    assert len(judged) == 4


def test_a_video_gives_backgrounds_that_stay_in_order(tmp_path: Path) -> None:
    writer = cv2.VideoWriter(
        str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 12.5, (48, 48)
    )
    for level in range(0, 200, 20):
        writer.write(np.full((48, 48, 3), level, dtype=np.uint8))
    writer.release()

    assets = load_assets(tmp_path)

    assert assets.videos == ((0, 10),)
    levels = assets.backgrounds.float().mean(dim=(1, 2, 3))
    assert bool((levels.diff() > 10).all())
    brighter = [
        compose(assets, seeded(seed), 1, 4, 1, 64, 0.0)
        .images_BT3SS[0, :, :, :4, :4]
        .mean((1, 2, 3))
        for seed in range(12)
    ]
    # A video runs forward behind half of the clips; photographs and textures stand still.
    assert any(bool((clip.diff() > 0.01).all()) for clip in brighter)


def test_objects_of_a_photograph_are_tracked_where_uncovered() -> None:
    photo = torch.full((1, 3, 64, 64), 40, dtype=torch.uint8)
    things = torch.zeros(1, 64, 64, dtype=torch.uint8)
    photo[:, 1, 16:48, 16:48], things[:, 16:48, 16:48] = 250, 7
    assets = replace(
        load_assets(None),
        backgrounds=photo,
        photographs=(0,),
        photograph_groups=((0, 1),),
        instances=things,
    )
    batch = compose(assets, seeded(1), 6, 2, 1, 64, 0.0, Kinds(photo=1.0))
    masks, greens = batch.masks_BTKSS[:, :, 0], batch.images_BT3SS[:, :, 1]
    assert bool(masks.flatten(1).any(dim=1).all())
    assert float(greens[masks].mean()) > float(greens[~masks].mean()) + 0.3


def test_hidden_layers_are_absent_for_a_while() -> None:
    def absent_share(hidden: float) -> float:
        batch = compose(load_assets(None), seeded(3), 8, 6, 3, 64, 0.2, Kinds(hidden=hidden))
        seen = batch.masks_BTKSS.flatten(3).any(dim=3).transpose(1, 2).flatten(0, 1)
        return 1 - float(seen[batch.counted()].float().mean())

    assert absent_share(0.0) < 0.05
    assert absent_share(1.0) > 0.2


def test_things_in_contact_touch_from_beginning_to_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracker.training.compose._EXTRA_LAYERS", 0)
    monkeypatch.setattr("tracker.training.compose._PROCEDURAL_SHARE", 0.0)
    sprite = torch.zeros(1, 4, SPRITE_SIZE, SPRITE_SIZE, dtype=torch.uint8)
    sprite[:, :, 2:-2, 2:-2] = 255
    assets = Assets(
        sprite, ((0, 1),), ((0, 1),), torch.full((1, 3, 64, 64), 128, dtype=torch.uint8)
    )

    def touching(contact: float) -> float:
        """How many of the frames with both things show them within two pixels."""
        found = []
        for seed in range(12):
            batch = compose(assets, seeded(seed), 2, 4, 2, 64, 0.7, Kinds(contact=contact))
            one, other = batch.masks_BTKSS.float().unbind(2)
            near = (torch.nn.functional.max_pool2d(one, 5, 1, 2) * other).sum((2, 3)) > 0
            # A sliver at the picture's border meets the other thing outside of it.
            seen = batch.masks_BTKSS.flatten(3).sum(3) > SMALLEST_FIRST_AREA_PIXELS
            found.append(near[seen.all(2)].float())
        return float(torch.cat(found).mean())

    assert touching(contact=1.0) > 0.99 > touching(contact=0.0)


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(AssetError, match="no-such-folder"):
        load_assets(Path("no-such-folder"))
