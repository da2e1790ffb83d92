"""``--text`` of ``masklet image`` and ``masklet segment``: words in, masks out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from streamer.cli.main import main
from tests.streamer.starters.words.tiny_models import save_tiny
from tests.tracker.little import LITTLE, little_picture
from tracker.model import Sam2
from tracker.weights.checkpoint import save_checkpoint

HEIGHT, WIDTH = 48, 80


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The arguments that name a tiny tracker and a tiny detector."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    save_checkpoint(Sam2(LITTLE), folder / "little.safetensors", torch.float32)
    detector = save_tiny("rt_detr", folder / "detector")
    return [
        "--model", str(folder / "little.safetensors"), "--device", "cpu",
        "--text-model", str(detector), "--text-score", "0.2",
    ]  # fmt: skip


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(3):
        Image.fromarray(little_picture(seed, HEIGHT, WIDTH)).save(folder / f"{seed}.png")
    return folder


def test_things_of_a_folder_are_cut_out_by_their_name(
    models: list[str], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = [str(path) for path in sorted(pictures.iterdir())]
    out = tmp_path / "cut"
    words = "person=player,ball,car"
    assert main(["image", *photos, "--text", words, "--out", str(out), *models]) == 0
    for seed in range(3):
        assert (out / f"{seed}-1-mask.png").is_file()
        assert (out / f"{seed}-overlay.png").is_file()
    said = capsys.readouterr().out
    assert "object 1 (" in said
    assert "(person)" not in said


def test_nothing_found_is_said(
    models: list[str], pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = [*models, "--text", "ball", "--text-score", "1"]
    arguments = ["image", str(pictures / "0.png"), "--out", str(tmp_path / "cut"), *wanted]
    assert main(arguments) == 0
    assert "0.png: nothing found" in capsys.readouterr().out
    assert not list((tmp_path / "cut").iterdir())
    assert main(["segment", str(pictures), "--out", str(tmp_path / "o"), *wanted]) == 2
    assert "nothing of what --text names was found" in capsys.readouterr().err


def test_clip_is_followed_from_the_frame_where_its_things_are(
    models: list[str], pictures: Path, tmp_path: Path
) -> None:
    arguments = ["--text", "person,ball=football,car", "--boxes", "--coco", *models]
    assert main(["segment", str(pictures), "--out", str(tmp_path / "out"), *arguments]) == 0
    boxes = json.loads((tmp_path / "out" / "pictures" / "boxes.json").read_text())
    assert len(boxes) == 3
    coco = json.loads((tmp_path / "out" / "pictures" / "coco.json").read_text())
    named = {each["name"] for each in coco["categories"]}
    assert named
    assert named <= {"person", "football", "car"}
    known = {each["id"] for each in coco["categories"]}
    assert {each["category_id"] for each in coco["annotations"]} <= known
    assert np.isfinite([each["bbox"] for each in next(iter(boxes.values()))]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "a,a"], "the caption 'a' is given twice"),
        (["--text", "dog"], "knows no 'dog'; its classes are person, ball, car"),
        (["--text", "ball", "--text-model", "no/such"], "HF_HUB_OFFLINE forbids"),
        (["--text", "ball", "--device", "cuda:9"], "--device cuda:9 cannot be used"),
    ],
)
def test_words_that_cannot_be_are_one_sentence(
    arguments: list[str],
    message: str,
    models: list[str],
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["image", str(pictures / "0.png"), "--out", str(tmp_path / "o"), *models, *arguments]
    assert main(command) in (1, 2)
    assert message in capsys.readouterr().err


def test_words_and_points_exclude_each_other(
    pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["image", str(pictures / "0.png"), "--out", str(tmp_path), "--text", "dog"]
    with pytest.raises(SystemExit):
        main([*command, "--everything"])
    assert "leave out --text" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "--point", "3,4"])
    assert "Or --text" in capsys.readouterr().err
