"""Runs: they learn, stop, resume exactly, fine-tune from a folder, and export what loads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.tracker.training.one_batch import OneBatch
from tracker import Prompt, Tracker
from tracker.config import PRESETS, ModelConfig
from tracker.model import Sam2
from tracker.training import command
from tracker.training.assets import AssetError, load_assets
from tracker.training.data import ComposedClips
from tracker.training.folder_clips import FolderClips, find_sequences
from tracker.training.loop import Run, Trainer
from tracker.training.recipe import FINE_TUNE, Recipe, RecipeError, load_recipe
from tracker.training.tally import Tally


def trainer(config: ModelConfig, recipe: Recipe, out: Path) -> Trainer:
    out.mkdir(exist_ok=True)
    source = ComposedClips(load_assets(None), None, config.image_size)
    return Trainer(config, recipe, source, Run(out, 3, torch.device("cpu")))


def weights(made: Trainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in made.model.state_dict().items()}


def test_a_resumed_run_equals_an_uninterrupted_one(
    tiny_config: ModelConfig, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    straight = trainer(tiny_config, tiny_recipe, tmp_path / "straight")
    straight.train()

    stopped = trainer(tiny_config, tiny_recipe, tmp_path / "stopped")
    stopped.advance = lambda step: stopped.request_stop() if step == 3 else None
    stopped.train()
    assert stopped.step == 4  # the request takes effect after the next step
    resumed = trainer(tiny_config, tiny_recipe, tmp_path / "stopped")
    assert resumed.resume()
    assert resumed.step == 4
    resumed.train()

    assert resumed.step == straight.step == 6
    for name, value in weights(straight).items():
        assert torch.equal(value, weights(resumed)[name]), name
    for name, value in straight.average.weights.items():
        assert torch.equal(value, resumed.average.weights[name]), name
    steps = [
        json.loads(line)["step"]
        for line in (tmp_path / "stopped" / "log.jsonl").read_text().splitlines()
    ]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert (tmp_path / "stopped" / "curves.png").stat().st_size > 1000


def test_a_run_of_minutes_anneals_to_the_end_in_slices(
    tiny_config: ModelConfig, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = replace(tiny_recipe, phases=(replace(tiny_recipe.phases[0], learning_rate=(1e-3, 0)),))

    def sliced() -> Trainer:
        source = ComposedClips(load_assets(None), None, tiny_config.image_size)
        run = Run(tmp_path, 3, torch.device("cpu"), minutes=0.02, slice_minutes=0.012)
        return Trainer(tiny_config, recipe, source, run)

    first = sliced()
    first.train()
    assert not first.finished
    second = sliced()
    assert second.resume()
    assert second.elapsed_s == first.elapsed_s >= 0.72
    second.train()
    assert second.finished
    assert second.step > first.step
    rates = [record.learning_rate for record in second.records]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] < 0.5 * rates[0]


def test_image_sizes_are_mixed_randomly_and_a_run_resumes(
    tiny_config: ModelConfig, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    phase = replace(tiny_recipe.phases[0], steps=6, clips=1, half_size_share=0.5)
    recipe = replace(tiny_recipe, phases=(phase,), checkpoint_every=3)
    straight = trainer(tiny_config, recipe, tmp_path / "straight")
    sizes = []
    while not straight.finished:
        straight.one_step(Tally())
        sizes.append(straight.model.config.image_size)
    assert set(sizes) == {32, 64}

    stopped = trainer(tiny_config, recipe, tmp_path / "stopped")
    for _ in range(3):
        stopped.one_step(Tally())
    stopped.save()
    resumed = trainer(tiny_config, recipe, tmp_path / "stopped")
    assert resumed.resume()
    resumed.train()
    for name, value in weights(straight).items():
        assert torch.equal(value, weights(resumed)[name]), name


def test_phases_share_the_time_of_a_run_by_their_steps(tiny_recipe: Recipe) -> None:
    images, clips = tiny_recipe.phases
    assert tiny_recipe.phase_after(0.0) == (images, 0.0)
    assert tiny_recipe.phase_after(0.25) == (images, 0.5)
    assert tiny_recipe.phase_after(0.75) == (clips, 0.5)
    assert tiny_recipe.phase_after(1.5) == (clips, 1.0)


def test_the_loss_falls(tiny_config: ModelConfig, tiny_recipe: Recipe, tmp_path: Path) -> None:
    phase = replace(
        tiny_recipe.phases[1],
        steps=24,
        learning_rate=(3e-3, 3e-3),
        place_memory=False,
        correction_share=0.0,
        box_share=1.0,
        point_share=0.0,
    )
    recipe = replace(tiny_recipe, phases=(phase,))
    made = trainer(tiny_config, recipe, tmp_path)
    generator = torch.Generator().manual_seed(0)
    made.source = OneBatch(made.source.clips(phase, 0.2, 2, generator))

    def losses(steps: int) -> float:
        tally = Tally()
        for _ in range(steps):
            made.one_step(tally)
        return tally.record(made.step, "", 0.0).loss

    first = losses(4)
    losses(16)
    assert losses(4) < 0.8 * first


def test_an_export_is_small_and_tracks(
    tiny_config: ModelConfig, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    recipe = replace(tiny_recipe, phases=(replace(tiny_recipe.phases[0], steps=1),))
    trainer(tiny_config, recipe, tmp_path).train()
    exported = tmp_path / "tiny.safetensors"
    assert exported.stat().st_size < 2_000_000
    tracker = Tracker.from_checkpoint(exported, device="cpu")
    assert tracker.config == tiny_config
    frame = np.zeros((48, 64, 3), dtype=np.uint8)
    prompt = Prompt(7, box_xyxy=(10.0, 10.0, 30.0, 40.0))
    (tracks,) = tracker.step([(tracker.open_session(), frame, [prompt])])
    assert [track.object_id for track in tracks] == [7]


def write_sequences(folder: Path, *, davis: bool) -> None:
    """Two short videos of a moving square, in either layout."""
    for name in ("first", "second"):
        images, masks = (
            (folder / "JPEGImages" / name, folder / "Annotations" / name)
            if davis
            else (folder / name / "images", folder / name / "masks")
        )
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for frame in range(4):
            picture = np.full((48, 80, 3), 60, dtype=np.uint8)
            owner = np.zeros((48, 80), dtype=np.uint8)
            place = np.s_[10:34, 10 + 5 * frame : 40 + 5 * frame]
            picture[place], owner[place] = (200, 40, 40), 2
            Image.fromarray(picture).save(images / f"{frame:05}.jpg")
            Image.fromarray(owner).save(masks / f"{frame:05}.png")


@pytest.mark.own_process  # it forks
@pytest.mark.parametrize("davis", [True, False])
def test_a_checkpoint_is_fine_tuned_from_a_folder_of_masks(
    davis: bool,
    tiny_config: ModelConfig,
    tiny_recipe: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = tmp_path / "start"
    recipe = replace(tiny_recipe, phases=(replace(tiny_recipe.phases[0], steps=1),))
    trainer(tiny_config, recipe, start).train()
    write_sequences(tmp_path / "video", davis=davis)
    assert [len(s.frames) for s in find_sequences(tmp_path / "video")] == [4, 4]
    changes = tmp_path / "changes.toml"
    changes.write_text(
        'threads = 1\nlog_every = 1\n[[phases]]\nname = "own"\nsteps = 2\nimage_size = 0\n'
        "clips = 1\nframes = 2\nobjects = 1\nlearning_rate = [1e-4, 1e-5]\n"
    )
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    arguments = ["--masks", str(tmp_path / "video"), "--out", str(tmp_path / "tuned")]
    arguments += ["--finetune", str(start / "tiny.safetensors"), "--config", str(changes)]
    assert command.main([*arguments, "--device", "cpu"]) == 0
    tuned = Tracker.from_checkpoint(tmp_path / "tuned" / "tiny.safetensors", device="cpu")
    assert tuned.config == tiny_config
    assert len((tmp_path / "tuned" / "log.jsonl").read_text().splitlines()) == 2


def test_an_official_architecture_is_fine_tuned_for_a_few_steps(tmp_path: Path) -> None:
    config = PRESETS["sam2.1_hiera_tiny"].replaced(image_size=64)
    write_sequences(tmp_path / "video", davis=True)
    phase = replace(FINE_TUNE.phases[0], steps=2, clips=1, frames=3, objects=1)
    recipe = replace(FINE_TUNE, phases=(phase,), log_every=1)
    torch.manual_seed(0)
    before = {name: value.clone() for name, value in Sam2(config).state_dict().items()}
    source = FolderClips(tmp_path / "video", torch.device("cpu"))
    run = Run(tmp_path, 0, torch.device("cpu"))
    made = Trainer(config, recipe, source, run, before)
    tally = Tally()
    for _ in range(2):
        made.one_step(tally)
    assert np.isfinite(tally.record(2, "", 0.0).loss)
    moved = {name for name, value in weights(made).items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in moved} >= {
        "image_encoder",
        "memory_attention",
        "memory_encoder",
        "sam_mask_decoder",
        "sam_prompt_encoder",
    }


def test_a_folder_without_masks_is_refused_with_the_layout(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="JPEGImages/NAME/00000.jpg"):
        find_sequences(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz = 3", "recipe.stepz is not a setting"),
        ('optimizer = "sgd"', "optimizer must be adamw or muon"),
        (
            '[[phases]]\nname = "a"\nsteps = 1\nimage_size = 100\nclips = 1\nframes = 1',
            "image_size must be a multiple of 32",
        ),
        (
            '[[phases]]\nname = "a"\nsteps = 1\nimage_size = 96\nclips = 1\nframes = 1\n'
            "half_size_share = 0.5",
            "image_size must be a multiple of 64",
        ),
        ("steps = [", "cannot be read"),
    ],
)
def test_a_bad_recipe_is_refused_with_the_reason(
    text: str, message: str, tmp_path: Path, tiny_recipe: Recipe
) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=message):
        load_recipe(path, tiny_recipe)


@pytest.mark.parametrize(
    ("name", "phases"),
    [("nano", ["photos", "contact", "long"]), ("fine-tune-nano", ["own footage"])],
)
def test_the_files_beside_the_weights_are_recipes(name: str, phases: list[str]) -> None:
    recipe = load_recipe(Path(__file__).parents[3] / "checkpoints" / f"{name}.toml", FINE_TUNE)
    assert [phase.name for phase in recipe.phases] == phases
    # The trunk was trained before.
    assert recipe.trunk_rate < 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--processes 0", "--processes: must be a whole number from 1 on, got '0'"),
        ("--match-scenes -2", "--match-scenes: must be a whole number from 0 on, got '-2'"),
        ("--minutes -3", "--minutes: must be a number above 0, got '-3'"),
        ("--slice-minutes soon", "--slice-minutes: must be a number above 0, got 'soon'"),
    ],
)
def test_invalid_arguments_are_refused(
    arguments: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command.main(["--out", str(tmp_path), "--masks", "m", *arguments.split()])
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("", 2, "give --data FOLDER (pictures), --masks FOLDER (frames with masks), or --footage"),
        ("--footage f", 2, "--footage needs --finetune CHECKPOINT"),
        ("--footage f --finetune nano", 2, "--footage needs --teacher CHECKPOINT"),
        ("--footage f --masks m", 2, "--masks and --footage exclude one another"),
        ("--masks m", 2, "--masks needs --finetune CHECKPOINT"),
        ("--masks m --data d --finetune nano", 2, "--data and --masks exclude one another"),
        ("--masks m --finetune nano --device gpu", 1, "no device 'gpu'; there are auto, cpu"),
        ("--masks m --finetune nano --out /proc/new/run", 1, "/proc/new"),
    ],
)
def test_mistakes_are_reported_with_a_remedy(
    arguments: str, code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--out", str(tmp_path), *arguments.split()]) == code
    said = " ".join(capsys.readouterr().err.split())
    assert message in said
    assert "Traceback" not in said
