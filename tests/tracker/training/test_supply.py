"""Clips are the same whoever makes them; they travel small."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tracker.config import ModelConfig
from tracker.training.assets import AssetError, load_assets
from tracker.training.clip import ClipBatch
from tracker.training.compose import compose
from tracker.training.data import ComposedClips
from tracker.training.loop import Run, Trainer
from tracker.training.recipe import Phase, Recipe
from tracker.training.supply import PackedClips, SupplyError

CPU = torch.device("cpu")


def test_packed_clips_keep_their_masks_and_eight_bits() -> None:
    batch = compose(load_assets(None), torch.Generator().manual_seed(1), 2, 3, 4, 64, 0.3)
    # An object without a pixel stays an object.
    batch.masks_BTKSS[:, :, 2] = False
    packed = PackedClips.of(batch)
    assert packed.images_BT3SS.nbytes + packed.owners_BTSS.nbytes == 2 * 3 * 4 * 64 * 64
    again = packed.unpacked(CPU)
    assert torch.equal(again.masks_BTKSS, batch.masks_BTKSS)
    assert float((again.images_BT3SS - batch.images_BT3SS).abs().max()) <= 0.5 / 255 + 1e-6


def trained(config: ModelConfig, recipe: Recipe, out: Path, workers: int) -> Trainer:
    out.mkdir(exist_ok=True)
    source = ComposedClips(load_assets(None), None, config.image_size)
    return Trainer(config, recipe, source, Run(out, 3, CPU, workers=workers))


@pytest.mark.own_process
def test_a_run_with_workers_equals_one_without(
    tiny_config: ModelConfig, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    alone = trained(tiny_config, tiny_recipe, tmp_path / "alone", 0)
    alone.train()
    stopped = trained(tiny_config, tiny_recipe, tmp_path / "helped", 1)
    stopped.advance = lambda step: stopped.request_stop() if step == 2 else None
    stopped.train()
    resumed = trained(tiny_config, tiny_recipe, tmp_path / "helped", 1)
    assert resumed.resume()
    assert resumed.step == 3
    resumed.train()
    for name, value in alone.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


class Broken:
    """A source whose third step fails."""

    def __init__(self, whole: ComposedClips, fault: str) -> None:
        self.whole, self.fault, self.steps = whole, fault, 0

    def clips(
        self, phase: Phase, motion: float, count: int, generator: torch.Generator
    ) -> ClipBatch:
        self.steps += 1
        if self.steps == 3 and self.fault == "data":
            raise AssetError("gate/00003.png is damaged")
        if self.steps == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return self.whole.clips(phase, motion, count, generator)


@pytest.mark.own_process
@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("data", AssetError, "^gate/00003.png is damaged$"),
        ("memory", SupplyError, "often for lack of memory: .* fewer --workers continues"),
    ],
)
def test_what_stops_a_worker_is_named(
    fault: str,
    error: type[Exception],
    message: str,
    tiny_config: ModelConfig,
    tiny_recipe: Recipe,
    tmp_path: Path,
) -> None:
    recipe = replace(tiny_recipe, checkpoint_every=1)
    made = trained(tiny_config, recipe, tmp_path, 1)
    made.source = Broken(ComposedClips(load_assets(None), None, 64), fault)
    with pytest.raises(error, match=message):
        made.train()
