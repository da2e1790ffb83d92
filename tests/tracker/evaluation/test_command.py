"""The command, with a tracker of random weights in place of a trained one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tracker.tracker
from streamer.cli.main import main as masklet
from tests.tracker.evaluation import layouts
from tests.tracker.little import LITTLE
from tracker.evaluation import long_stream, suites
from tracker.evaluation.__main__ import main
from tracker.evaluation.clips import ClipFrame, EvaluationClip


@pytest.fixture(autouse=True)
def random_weights(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Trackers with random weights; their arguments are recorded."""
    asked: list[dict[str, Any]] = []
    made = tracker.tracker.Tracker.random

    def load(name: str, device: str, options: Any) -> tracker.tracker.Tracker:
        asked.append({"name": name, "device": device, "options": options})
        return made(LITTLE, options=options)

    monkeypatch.setattr(tracker.tracker.Tracker, "from_checkpoint", load)
    return asked


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return layouts.mask_folders(tmp_path / "data", late=False)


def test_masklet_evaluate_writes_results_plots_and_videos(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    suite = ["--suite", "mose", "--data", str(data), "--device", "cpu"]
    assert masklet(["evaluate", *suite, "--out", str(out)]) == 0
    content = json.loads((out / "results.json").read_text())
    assert content["clips"][0]["name"] == "walk"
    assert content["clips"][0]["frames"] == 4
    assert 0.0 <= content["all"]["hota"] <= 1.0
    written = {path.name for path in out.iterdir()}
    assert written >= {"results.json", "success.png", "categories.png", "videos"}
    assert len(list((out / "videos").iterdir())) == 1


def test_a_clip_that_cannot_be_scored_is_left_out(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in datasets with only the first mask of some sequences public."""
    layouts.pictures(data / "JPEGImages/run", ["00000.jpg", "00001.jpg"])
    layouts.index_map(data / "Annotations/run/00000.png", {1: (2, 2)})
    out = tmp_path / "out"
    suite = ["--suite", "mose", "--data", str(data), "--no-identity", "--device", "cpu"]
    assert main([*suite, "--out", str(out)]) == 0
    content = json.loads((out / "results.json").read_text())
    assert [clip["name"] for clip in content["clips"]] == ["walk"]
    assert content["left_out"][0].startswith("run: the truth of an object is known on 1 frames")
    assert [path.name for path in (out / "videos").iterdir()] == ["mose,walk.mp4"]
    assert main([*suite, "--clip", "run"]) == 2
    assert "take another split" in capsys.readouterr().out


def test_the_clips_of_a_file_are_tracked(data: Path, tmp_path: Path) -> None:
    layouts.pictures(data / "JPEGImages/run", ["00000.jpg"])
    layouts.index_map(data / "Annotations/run/00000.png", {1: (2, 2)})
    names = tmp_path / "val.txt"
    names.write_text("walk\n\n")
    suite = ["--suite", "mose", "--data", str(data), "--no-identity", "--device", "cpu"]
    results = tmp_path / "a.json"
    assert main([*suite, "--clips", str(names), "--json", str(results)]) == 0
    assert [clip["name"] for clip in json.loads(results.read_text())["clips"]] == ["walk"]


def test_a_missing_library_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["--no-identity", "--out", "unused"]) == 2
    assert "pip install 'masklet[evaluation]'" in capsys.readouterr().out


def test_boxes_without_masks_are_scored_as_boxes(tmp_path: Path) -> None:
    layouts.boxes(tmp_path / "ball", "groundtruth.txt", ["3,4,10,8"] * 4, "color")
    suite = ["--suite", "vot", "--data", str(tmp_path), "--json", str(tmp_path / "a.json")]
    assert main([*suite, "--no-identity", "--device", "cpu"]) == 0
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["prompt"] == "box"
    scores = content["all"]
    assert scores["mean"] is None
    assert 0.0 <= scores["success_auc"] <= 1.0


def test_a_simulated_speed_drops_frames(data: Path, tmp_path: Path) -> None:
    suite = ["--suite", "mose", "--data", str(data), "--json", str(tmp_path / "a.json")]
    live = ["--real-time-fps-model", "10", "--camera-fps", "20"]
    assert main([*suite, *live, "--no-identity", "--device", "cpu"]) == 0
    clip = json.loads((tmp_path / "a.json").read_text())["clips"][0]
    assert (clip["frames"], clip["tracked_frames"]) == (4, 3)


def test_photographs_are_scored_by_number_and_size_of_their_things(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = layouts.packed(layouts.photographs(tmp_path / "one", 2))
    three = layouts.photographs(tmp_path / "three", 1, things=3)
    suite = ["--suite", "photographs", "--data", str(one), str(three), "--device", "cpu"]
    assert main([*suite, "--json", str(tmp_path / "a.json")]) == 0
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["prompt"] == "point"
    assert {name: each["objects"] for name, each in content["categories"].items()} == {
        "1 thing": 2,
        "3 things or more": 3,
    }
    # 36 of 768 pixels each.
    assert content["sizes"].keys() == {"3 to 10 %"}
    assert content["sizes"]["3 to 10 %"]["objects"] == 5
    shown = capsys.readouterr().out
    assert "things of photographs by their size" in shown
    assert "one/000" not in shown


def test_photographs_are_scored_beside_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a calibration for both is fitted."""
    frame = ClipFrame(np.zeros((24, 32, 3), np.uint8), {1: np.ones((24, 32), np.bool_)})
    short = EvaluationClip("short", "any", (1,), 3, lambda: iter([frame] * 3))
    monkeypatch.setattr(suites, "synthetic_clips", lambda split: [short])
    photographs = layouts.photographs(tmp_path / "photographs", 2, things=3)
    suite = ["--suite", "synthetic,photographs", "--data", str(photographs)]
    results = ["--no-identity", "--device", "cpu", "--json", str(tmp_path / "a.json")]
    assert main([*suite, *results]) == 0
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["prompt"] == "mask or point"
    assert list(content["categories"]) == ["any", "3 things or more"]


def test_an_ablation_is_run_and_resumed(
    data: Path, tmp_path: Path, random_weights: list[dict[str, Any]]
) -> None:
    suite = ["--suite", "mose", "--data", str(data), "--out", str(tmp_path / "out")]
    rows = ["--ablate", "--rows", "sam2,robust", "--no-identity", "--device", "cpu"]
    assert main([*suite, *rows]) == 0
    assert [each["options"].memory_policy for each in random_weights] == ["sam2", "robust"]
    assert main([*suite, *rows]) == 0
    assert len(random_weights) == 2
    table = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert [row["row"] for row in table] == ["sam2", "robust"]
    assert (tmp_path / "out" / "ablation.png").is_file()


def test_several_suites_are_ablated_together(data: Path, tmp_path: Path) -> None:
    suites = ["--suite", "stress,mose", "--data", str(data), "--out", str(tmp_path / "out")]
    # One clip of each: their names are unique.
    clips = ["--clip", "every 12 s30147", "--clip", "walk"]
    rows = ["--ablate", "--rows", "robust", "--no-identity", "--device", "cpu"]
    assert main([*suites, *clips, *rows]) == 0
    (line,) = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert list(line["by_category"]) == ["clicks", "mose"]


def test_a_loop_is_tracked_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_stream, "SCORED_FRAMES", 30)
    loop = ["--suite", "loop", "--frames", "100", "--first-frame", "1000000", "--device", "cpu"]
    assert main([*loop, "--json", str(tmp_path / "loop.json")]) == 0
    found = json.loads((tmp_path / "loop.json").read_text())
    assert (found["frames"], found["first_frame"]) == (100, 1_000_000)
    assert found["first"].keys() == found["last"].keys() == {"1", "4"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suite", "mose"], "--suite mose needs --data PATH"),
        (["--ablate"], "--ablate needs --out DIR"),
        (["--rows", "sam2"], "--rows goes with --ablate"),
        (["--camera-fps", "20"], "--camera-fps goes with --real-time"),
        (["--real-time", "--real-time-fps-model", "9"], "exclude one another"),
        (["--limit", "0"], "must be a whole number from 1 on, got '0'"),
        (["--threads", "-3"], "argument --threads: must be a whole number from 1 on, got '-3'"),
        (["--videos", "some"], "argument --videos: must be a whole number from 0 on, got 'some'"),
        (["--camera-fps", "inf"], "argument --camera-fps: must be a number above 0, got 'inf'"),
        (["--suite", "stress", "--data", "x"], "--data goes with a dataset: stress is rendered"),
        (["--from-detections"], "--from-detections goes with --suite mot"),
        (["--suite", "stress,snow"], "no suite 'snow'; there are: synthetic, stress"),
        (["--suite", "mose,vot", "--data", "a"], "--data is one dataset, not 2"),
        (["--suite", "mose", "--data", "a", "b"], "--data of --suite mose is one folder, not 2"),
        (["--held-out"], "--held-out goes with --suite photographs"),
        (["--apart"], "--apart goes with --suite photographs"),
        (["--suite", "loop,stress"], "--suite loop cannot be combined with other suites"),
        (["--suite", "loop", "--out", "a"], "--out does not go with --suite loop"),
        (["--frames", "2000"], "--frames and --first-frame go with --suite loop"),
    ],
)
def test_contradicting_arguments_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--suite", "mose", "--data", "nowhere"], "JPEGImages: expected a folder"),
        (["--suite", "davis", "--data", "nowhere"], "nowhere: expected a tar file"),
        (
            ["--suite", "photographs", "--data", "no"],
            "no: expected a folder or tar file with images",
        ),
        (["--suite", "loop", "--frames", "9"], "a long stream has at least 1000 frames, got 9"),
        (["--json", "/proc/new/scores.json"], "/proc/new"),
        (["--category", "snow"], "no category 'snow'; there are: ball, crossing"),
        (["--clips", "nowhere.txt"], "nowhere.txt: expected a file with one clip name per line"),
        (["--clip", "7"], "no clip '7'; there are: 11001"),
        (["--ablate", "--rows", "magic", "--out", "unused"], "no row 'magic'; there are: sam2"),
    ],
)
def test_mistakes_are_named(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)  # folders of results are made first
    assert main(arguments) == 2
    assert message in " ".join(capsys.readouterr().out.split())
