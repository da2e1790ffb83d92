"""A teacher labels a folder of pictures and video, and a student learns from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from tests.tracker.training.tiny_model import TINY
from tracker import Tracker
from tracker.model import Sam2
from tracker.pictures.generator_options import GeneratorOptions
from tracker.training import command, footage, labeller
from tracker.training.assets import AssetError
from tracker.training.folder_clips import find_sequences
from tracker.training.footage import CLIP_FRAMES, label_folder
from tracker.training.labeller import Labeller
from tracker.types import MaskArray
from tracker.weights.checkpoint import save_checkpoint

CPU = torch.device("cpu")
# Masks of random weights are neither sure nor stable.
EVERYTHING = GeneratorOptions(points_per_side=3, pred_iou_thresh=0.0, stability_score_thresh=0.0)


def write_footage(folder: Path, frames: int = 40) -> None:
    """A picture in a folder of its own, and a video of a moving square at 8 frames a second."""
    (folder / "yard").mkdir(parents=True)
    picture = np.full((48, 80, 3), 60, dtype=np.uint8)
    picture[10:34, 10:40] = (200, 40, 40)
    Image.fromarray(picture).save(folder / "yard" / "one.jpg")
    writer = cv2.VideoWriter(str(folder / "gate.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 8, (80, 48))
    for frame in range(frames):
        writer.write(np.roll(picture, frame, axis=1)[..., ::-1])
    writer.release()


def square(picture: npt.NDArray[np.uint8]) -> MaskArray:
    """Where a picture is red."""
    red = picture.astype(int)
    return np.asarray(red[..., 0] - red[..., 1] > 80)


class Seeing:
    """A labeller that sees the square, and counts what it was asked."""

    fingerprint = "seeing"

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def maps(self, pictures: list[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.uint8]]:
        self.lengths.append(len(pictures))
        return [square(each).astype(np.uint8) for each in pictures]


def test_pictures_and_clips_all_over_a_video_are_labelled_once(tmp_path: Path) -> None:
    write_footage(tmp_path / "camera")
    seeing = Seeing()
    clips = label_folder(tmp_path / "camera", tmp_path / "out", seeing)  # type: ignore[arg-type]
    # Of five seconds: two of the first four, and the eight frames after them; and the picture.
    assert (clips, seeing.lengths) == (3, [CLIP_FRAMES, 8, 1])
    assert [(each.name, len(each.frames)) for each in find_sequences(tmp_path / "out")] == [
        ("gate.avi-000", CLIP_FRAMES),
        ("gate.avi-001", 8),
        ("yard%2Fone.jpg-000", 1),
    ]
    picture, index_map = find_sequences(tmp_path / "out")[1].frames[0]
    truth = square(np.array(Image.open(picture)))
    assert np.mean(truth == (np.array(Image.open(index_map)) == 1)) > 0.97
    again = Seeing()
    assert label_folder(tmp_path / "camera", tmp_path / "out", again) == 3  # type: ignore[arg-type]
    assert not again.lengths


def test_labelling_continues_with_the_next_file(tmp_path: Path) -> None:
    write_footage(tmp_path / "camera")

    class Interrupted(Seeing):
        def maps(self, pictures: list[npt.NDArray[np.uint8]]) -> list[npt.NDArray[np.uint8]]:
            if len(pictures) == 1:
                raise KeyboardInterrupt
            return super().maps(pictures)

    with pytest.raises(KeyboardInterrupt):
        label_folder(tmp_path / "camera", tmp_path / "out", Interrupted())  # type: ignore[arg-type]
    rest = Seeing()
    assert label_folder(tmp_path / "camera", tmp_path / "out", rest) == 3  # type: ignore[arg-type]
    assert rest.lengths == [1]


def test_of_a_long_video_clips_are_taken_all_over_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_footage(tmp_path / "camera", frames=100)
    monkeypatch.setattr(footage, "_MOST_CLIPS", 2)
    seeing = Seeing()
    label_folder(tmp_path / "camera", tmp_path / "out", seeing)  # type: ignore[arg-type]
    assert seeing.lengths == [CLIP_FRAMES, CLIP_FRAMES, 1]
    first = np.array(Image.open(find_sequences(tmp_path / "out")[1].frames[0][0]))
    moved = np.zeros((48, 80), dtype=np.bool_)
    moved[10:34, 10:40] = True
    assert np.mean(square(first) == np.roll(moved, 50, axis=1)) > 0.97


def test_things_are_whole_and_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ground and a part of a thing are not taken."""

    class Segment:
        def __init__(self, rows: slice, columns: slice) -> None:
            self.mask = np.zeros((40, 40), dtype=np.bool_)
            self.mask[rows, columns] = True
            self.area = int(self.mask.sum())

    ground = Segment(slice(0, 40), slice(0, 30))
    body, shirt = Segment(slice(5, 25), slice(5, 15)), Segment(slice(8, 14), slice(5, 15))
    beside = Segment(slice(5, 25), slice(14, 30))  # one column of it on the body
    speck = Segment(slice(39, 40), slice(39, 40))
    made = Labeller(Sam2(TINY), CPU)
    monkeypatch.setattr(
        made._generator, "segments", lambda picture: [shirt, speck, body, ground, beside]
    )
    first, second = made.things(np.zeros((40, 40, 3), dtype=np.uint8))
    assert np.array_equal(first, beside.mask)
    assert np.array_equal(second, body.mask & ~beside.mask)


def test_a_student_learns_from_a_teacher_of_random_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    monkeypatch.setattr(labeller, "SEARCH", EVERYTHING)
    monkeypatch.setattr(labeller, "_SURE_IOU", 0.0)
    monkeypatch.setattr(labeller, "_LARGEST_SHARE", 1.0)
    monkeypatch.setattr(footage, "CLIP_FRAMES", 3)
    torch.manual_seed(5)  # of whose teacher the masks are neither empty nor whole pictures
    teacher = Sam2(replace(TINY, name="teacher"))
    save_checkpoint(Sam2(TINY), tmp_path / "student.safetensors", notes={})
    save_checkpoint(teacher, tmp_path / "teacher.safetensors", notes={})
    write_footage(tmp_path / "camera", frames=8)
    changes = tmp_path / "changes.toml"
    changes.write_text(
        'threads = 1\nlog_every = 1\n[[phases]]\nname = "own"\nsteps = 2\nimage_size = 0\n'
        "clips = 1\nframes = 2\nobjects = 2\nlearning_rate = [1e-3, 1e-3]\n"
    )
    arguments = ["--footage", str(tmp_path / "camera"), "--out", str(tmp_path / "run")]
    arguments += ["--finetune", str(tmp_path / "student.safetensors"), "--config", str(changes)]
    arguments += ["--teacher", str(tmp_path / "teacher.safetensors"), "--teacher-size", "96"]
    arguments += ["--device", "cpu", "--workers", "0"]
    assert command.main(arguments) == 0
    tuned = Tracker.from_checkpoint(tmp_path / "run" / "tiny.safetensors", device="cpu")
    assert tuned.config == TINY
    record = json.loads((tmp_path / "run" / "labelled" / "labels.json").read_text())
    assert sum(record["clips"].values()) > 0
    log = (tmp_path / "run" / "log.jsonl").read_text().splitlines()
    assert all(json.loads(line)["loss"] > 0 for line in log)
    # Another teacher's labels are not mixed with these.
    save_checkpoint(Sam2(TINY), tmp_path / "teacher.safetensors", notes={})
    assert command.main(arguments) == 1


@pytest.mark.parametrize("fault", ["missing", "empty", "torn picture", "torn video", "record"])
def test_footage_that_cannot_be_read_is_named(fault: str, tmp_path: Path) -> None:
    camera = tmp_path / "camera"
    if fault != "missing":
        camera.mkdir()
    if fault == "torn picture":
        (camera / "a.jpg").write_bytes(b"\xff\xd8\xff")
    if fault == "torn video":
        (camera / "a.mp4").write_bytes(b"nothing")
    if fault == "record":
        write_footage(camera / "more")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "labels.json").write_text("{")
    message = {
        "record": "labels.json cannot be read: .*; remove .*out, or give another --out",
        "missing": "camera is not a folder",
        "empty": "camera holds no picture and no video",
        "torn picture": "a.jpg cannot be read as a picture",
        "torn video": "a.mp4 cannot be read as a video",
    }[fault]
    with pytest.raises(AssetError, match=message):
        label_folder(camera, tmp_path / "out", Seeing())  # type: ignore[arg-type]
