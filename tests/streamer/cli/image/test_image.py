"""``masklet image``: what a user gets, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco

from streamer.cli import exit_codes
from streamer.cli.image.prompts import ObjectPrompt, objects_of
from streamer.cli.main import main
from streamer.errors import ConfigError
from tests.tracker.little import little_picture
from tests.tracker.pictures.predictors import little_predictor
from tracker import EmbeddingFile, ImagePredictor
from tracker.scenes import Match
from tracker.weights.checkpoint import save_checkpoint

HEIGHT, WIDTH = 60, 80


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint that answers in a millisecond."""
    import torch

    path = tmp_path_factory.mktemp("model") / "little.safetensors"
    save_checkpoint(little_predictor()._model, path, torch.float32)
    return str(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with pictures of several kinds."""
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("dog.png", "cat.jpg", "-odd\n[name].png")):
        Image.fromarray(little_picture(seed, HEIGHT, WIDTH)).save(tmp_path / name)
    return tmp_path


def run(model: str, *arguments: str) -> int:
    return main(["image", *arguments, "--model", model, "--device", "cpu"])


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_masks_cut_outs_and_overlay_of_each_object(
    folder: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    objects = ("--label", "dog", "--box", "10,10,60,50", "--object", "3", "--point", "70,50")
    assert run(model, "dog.png", *objects, "--out", "new/cut") == exit_codes.DONE
    out = folder / "new" / "cut"
    assert written(out) == {
        *("dog-1-mask.png", "dog-1-cutout.png", "dog-3-mask.png", "dog-3-cutout.png"),
        "dog-overlay.png",
    }
    mask = np.asarray(Image.open(out / "dog-1-mask.png"))
    predictor = ImagePredictor.from_checkpoint(model, device="cpu")
    predictor.set_image(np.asarray(Image.open("dog.png")))
    expected = predictor.predict(box_xyxy=[10, 10, 60, 50], multimask=False)
    np.testing.assert_array_equal(mask == 255, expected.masks[0])
    rows, columns = np.nonzero(mask)
    box = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    cut = np.asarray(Image.open(out / "dog-1-cutout.png"))
    x0, y0, x1, y1 = box
    np.testing.assert_array_equal(cut[..., 3], mask[y0:y1, x0:x1])
    np.testing.assert_array_equal(cut[..., :3], np.asarray(Image.open("dog.png"))[y0:y1, x0:x1])
    assert np.asarray(Image.open(out / "dog-overlay.png")).shape == (HEIGHT, WIDTH, 3)
    said = capsys.readouterr().out
    shown = ",".join(map(str, box))
    assert f"dog.png: object 1 (dog): {len(rows)} pixels, box {shown}, predicted IoU" in said
    assert "dog.png: object 3: " in said


def test_a_single_point_is_answered_by_the_best_of_three_masks(folder: Path, model: str) -> None:
    assert run(model, "dog.png", "--point", "30,30", "--out", "one") == exit_codes.DONE
    assert run(model, "dog.png", "--point", "30,30", "--multimask", "--out", "three") == 0
    names = {"dog-1-mask.png", "dog-1-mask-2.png", "dog-1-mask-3.png"}
    assert {name for name in written(folder / "three") if "mask" in name} == names
    assert (folder / "one" / "dog-1-mask.png").read_bytes() == (
        folder / "three" / "dog-1-mask.png"
    ).read_bytes()


def test_a_pixel_belongs_to_one_object_of_those_kept_apart(folder: Path, model: str) -> None:
    objects = ("--box", "10,10,60,50", "--object", "2", "--box", "12,8,62,52")
    for out, apart in (("plain", ()), ("apart", ("--apart",))):
        assert run(model, "dog.png", *objects, *apart, "--out", out) == exit_codes.DONE
    plain, apart = (
        [np.asarray(Image.open(f"{out}/dog-{number}-mask.png")) > 0 for number in (1, 2)]
        for out in ("plain", "apart")
    )
    assert (plain[0] & plain[1]).any()
    assert not (apart[0] & apart[1]).any()
    np.testing.assert_array_equal(apart[0] | apart[1], plain[0] | plain[1])


def test_a_mask_file_is_a_prompt(folder: Path, model: str) -> None:
    rough = np.zeros((HEIGHT, WIDTH), np.uint8)
    rough[10:40, 20:50] = 255
    Image.fromarray(rough).save("rough.png")
    assert run(model, "dog.png", "--mask", "rough.png", "--out", "cut") == exit_codes.DONE
    assert "dog-1-mask.png" in written(folder / "cut")


def test_transparency_of_the_picture_stays_in_its_cut_out(folder: Path, model: str) -> None:
    picture = Image.fromarray(little_picture(0, HEIGHT, WIDTH))
    picture.putalpha(Image.fromarray(np.tile(np.arange(WIDTH, dtype=np.uint8), (HEIGHT, 1))))
    picture.save("glass.png")
    assert run(model, "glass.png", "--box", "0,0,80,60", "--out", "cut") == exit_codes.DONE
    assert np.asarray(Image.open("cut/glass-1-cutout.png"))[..., 3].max() < WIDTH


def test_a_picture_that_fails_is_named_and_the_others_go_on(
    folder: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.png").write_bytes((folder / "dog.png").read_bytes()[:500])
    Image.fromarray(little_picture(0, 9, 9)).save("tiny.png")
    names = ("broken.png", "missing.png", "tiny.png", "dog.png", "./-odd\n[name].png")
    assert run(model, *names, "--point", "30,30", "--out", "cut") == exit_codes.FAILED
    said = capsys.readouterr()
    assert "masklet: broken.png is not a readable picture" in said.err
    assert "masklet: missing.png is not a readable picture: No such file" in said.err
    assert "masklet: tiny.png: object 1: the point (30, 30) lies outside the 9×9" in said.err
    assert "-odd\\n[name].png: object 1: " in said.out
    assert {"dog-overlay.png", "-odd\n[name]-overlay.png"} < written(folder / "cut")


def test_results_that_are_there_are_kept(
    folder: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("dog.png", "--point", "30,30", "--out", "cut")
    (folder / "cut").mkdir()
    (folder / "cut" / "dog-other.png").touch()  # no result
    assert run(model, *command) == exit_codes.DONE
    assert run(model, *command) == exit_codes.REFUSED
    assert "is there already: name another --out, or --overwrite" in capsys.readouterr().err
    assert run(model, *command, "--overwrite") == exit_codes.DONE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dog.png", "--out", "cut"), "where is the object"),
        (("dog.png", "--point", "1", "--out", "cut"), "must be X,Y"),
        (("dog.png", "--object", "2", "--out", "cut"), "object 2: give a --point"),
        (
            ("dog.png", "--point", "1,1", "--apart", "--multimask", "--out", "cut"),
            "leave out --multimask",
        ),
        (("dog.png", "--mask", "none.png", "--out", "cut"), "none.png is not a readable image"),
        (("dog.png", "dog.png", "--point", "1,1", "--out", "cut"), "both be written as dog-"),
        (("dog.png", "--point", "1,1", "--out", "cat.jpg"), "cat.jpg is no folder"),
        (("dog.png", "--point", "1,1"), "--out"),
        (("embed", ".", "--out", "dog.png"), "dog.png is there already"),
        (("embed", ".", "--point", "1,1", "--out", "x"), "unrecognized arguments: --point"),
    ],
)
def test_a_command_that_cannot_be_is_refused_before_anything_runs(
    folder: Path,
    model: str,
    arguments: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    try:
        code = run(model, *arguments)
    except SystemExit as ended:
        code = int(ended.code or 0)
    assert code == exit_codes.REFUSED
    assert message in capsys.readouterr().err
    assert not list(folder.glob("cut/*"))


def test_options_belong_to_the_object_named_before_them() -> None:
    options = [
        ("--point", (1.0, 2.0)),
        ("--object", 4),
        ("--label", "cat"),
        ("--box", (1.0, 2.0, 3.0, 4.0)),
        ("--object", 1),
        ("--not-point", (5.0, 6.0)),
    ]
    first, second = objects_of(options)
    assert (first.object_id, first.points_xy) == (1, ((1.0, 2.0), (5.0, 6.0)))
    assert first.point_labels == (1, 0)
    assert (second.object_id, second.label, second.box_xyxy) == (4, "cat", (1.0, 2.0, 3.0, 4.0))
    assert not second.is_ambiguous
    assert ObjectPrompt(1, points_xy=((1.0, 2.0),), point_labels=(1,)).is_ambiguous
    with pytest.raises(ConfigError, match="object 1 has two of --box: give --object 2 before"):
        objects_of([("--box", (1.0, 2.0, 3.0, 4.0))] * 2)


def test_a_folder_is_encoded_in_batches_and_asked_later(
    folder: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(7):
        Image.fromarray(little_picture(seed, 20 + seed, 30)).save(folder / f"{seed}.png")
    (folder / "3.png").write_bytes(b"no picture")
    arguments = ("embed", ".", "--out", "all.safetensors", "--batch", "2")
    assert run(model, *arguments) == exit_codes.FAILED
    said = capsys.readouterr()
    assert "masklet: 3.png is not a readable picture" in said.err
    assert "all.safetensors: 9 pictures in " in said.out
    assert "1 could not be read" in said.out
    stored = EmbeddingFile("all.safetensors")
    assert [*stored][:6] == [f"{seed}.png" for seed in (0, 1, 2, 4, 5, 6)]
    predictor = ImagePredictor.from_checkpoint(model, device="cpu")
    predictor.set_embeddings(stored["6.png"])
    assert predictor.predict([[3, 4]]).masks.shape == (3, 26, 30)
    assert run(model, *arguments) == exit_codes.REFUSED
    assert run(model, *arguments, "--overwrite") == exit_codes.FAILED
    assert not list(folder.glob("*.partial"))


def test_everything_is_written_largest_first(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = Match(1, 300, 200).render(20).image
    Image.fromarray(picture).save(folder / "match.png")
    assert run("nano", "match.png", "--everything", "--points-per-side", "6", "--out", "all") == 0
    records = json.loads((folder / "all" / "match-everything.json").read_text())
    assert f"match.png: {len(records)} masks" in capsys.readouterr().out
    assert records
    numbers = [each["object_id"] for each in records]
    assert numbers == list(range(1, len(records) + 1))
    areas = [each["area"] for each in records]
    assert areas == sorted(areas, reverse=True)
    assert written(folder / "all") == {
        *(f"match-{number}-{kind}.png" for number in numbers for kind in ("mask", "cutout")),
        *("match-overlay.png", "match-everything.json"),
    }
    for each in records:
        mask = np.asarray(Image.open(folder / "all" / f"match-{each['object_id']}-mask.png"))
        assert (mask == 255).sum() == each["area"]
        encoded = coco.encode(np.asfortranarray((mask == 255).astype(np.uint8)))
        assert encoded["counts"].decode() == each["segmentation"]["counts"]
    again = ("match.png", "--everything", "--out", "all")
    assert run("nano", *again) == exit_codes.REFUSED
    assert "is there already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--point", "3,4"], "--everything finds all objects: leave out --point"),
        (["--multimask"], "--everything finds all objects: leave out --multimask"),
        (["--points-per-side", "257"], "--points-per-side must be at most 256, got 257"),
        (["--points-per-side", "0"], "--points-per-side"),
        (["--min-area", "-1"], "--min-area"),
    ],
)
def test_everything_that_cannot_be(
    folder: Path, model: str, capsys: pytest.CaptureFixture[str], given: list[str], message: str
) -> None:
    with pytest.raises(SystemExit):
        run(model, "dog.png", "--everything", *given, "--out", "all")
    assert message in capsys.readouterr().err
