"""Distillation: the student approaches a teacher of the official architecture."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tracker.training.one_batch import OneBatch
from tracker.config import PRESETS, ModelConfig
from tracker.model import Sam2
from tracker.training import command
from tracker.training.assets import load_assets
from tracker.training.compose import compose
from tracker.training.loop import Run, Trainer
from tracker.training.recipe import LossWeights, Recipe
from tracker.training.tally import Tally
from tracker.training.teacher import Teacher, alike
from tracker.training.unroll import Sampling, Unroll
from tracker.weights.checkpoint import save_checkpoint

OFFICIAL = PRESETS["sam2.1_hiera_tiny"].replaced(image_size=64)


@pytest.fixture(scope="module")
def official() -> Sam2:
    """Meta's architecture with random weights, seeing small pictures."""
    torch.manual_seed(0)
    return Sam2(OFFICIAL)


def test_a_student_approaches_its_teacher(
    official: Sam2, tiny_config: ModelConfig, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    weights = LossWeights(
        focal=0, dice=0, iou=0, occlusion=0, taught_masks=1.0, taught_features=10.0
    )
    phase = replace(
        tiny_recipe.phases[1],
        frames=2,
        learning_rate=(1e-3, 1e-3),
        place_memory=False,
        correction_share=0.0,
    )
    recipe = replace(tiny_recipe, phases=(phase,), losses=weights)
    batch = compose(load_assets(None), torch.Generator().manual_seed(1), 2, 2, 2, 64, 0.3)
    source, run = OneBatch(batch), Run(tmp_path, 4, torch.device("cpu"))
    teacher = Teacher(official, weights)
    made = Trainer(tiny_config, recipe, source, run, teacher=teacher)
    lesson = teacher.lesson(batch, torch.Generator().manual_seed(2))

    def distance() -> float:
        plain = Sampling(0.0, 0.0, 0.0, False, 0.0)
        with torch.no_grad():
            student = Unroll(made.model, weights)
            result = student.run(batch, plain, torch.Generator().manual_seed(3))
            return float(teacher.loss(result, lesson))

    before = distance()
    for _ in range(10):
        made.one_step(Tally())
    # 0.70 of it is the entropy of the teacher's own answers: nothing comes nearer.
    assert distance() < 0.8 * before
    assert all(parameter.grad is None for parameter in official.parameters())


def test_a_lesson_does_not_depend_on_the_student(official: Sam2) -> None:
    batch = compose(load_assets(None), torch.Generator().manual_seed(1), 2, 2, 2, 64, 0.3)
    teacher = Teacher(official, LossWeights())
    lesson, again = (teacher.lesson(batch, torch.Generator().manual_seed(2)) for _ in range(2))
    assert len(lesson.mask_TN1hw) == 1
    assert lesson.mask_TN1hw[0].shape[0] == len(batch.counted_rows())
    assert torch.equal(lesson.mask_TN1hw[0], again.mask_TN1hw[0])
    assert lesson.alike_bGG.shape == (4, 256, 256)


def test_similarities_do_not_depend_on_the_width() -> None:
    features = torch.randn(1, 8, 16, 16)
    doubled = torch.cat((features, features), dim=1)
    assert torch.allclose(alike(features), alike(doubled), atol=1e-5)


@pytest.mark.own_process  # it forks
def test_the_command_takes_a_teacher_from_a_file(
    tiny_config: ModelConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    for name, config in (("student", tiny_config), ("teacher", tiny_config)):
        save_checkpoint(Sam2(config), tmp_path / f"{name}.safetensors", notes={})
    (tmp_path / "pictures").mkdir()
    changes = tmp_path / "changes.toml"
    changes.write_text(
        '[[phases]]\nname = "taught"\nsteps = 1\nimage_size = 0\nclips = 1\nframes = 2\n'
    )
    arguments = ["--data", str(tmp_path / "pictures"), "--match-scenes", "0", "--device", "cpu"]
    arguments += ["--finetune", str(tmp_path / "student.safetensors"), "--config", str(changes)]
    arguments += ["--teacher", str(tmp_path / "teacher.safetensors"), "--teacher-size", "96"]
    assert command.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "tiny.safetensors").exists()
