"""A job writes what was asked for, goes on after a stop, and says what is missing."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from streamer.errors import ConfigError
from streamer.recorded import segment
from streamer.recorded.clip_work import DiskFullError, StoppedError
from streamer.recorded.job import read_jobs, run_jobs
from streamer.recorded.job_options import JobOptions, Outputs
from streamer.recorded.outputs.masks import MaskPictures
from streamer.recorded.passes import Direction
from tests.streamer.recorded.made import FRAMES, HEIGHT, WIDTH, pictures, video
from tracker import Tracker

PROMPTS = [
    {"frame_index": 3, "object_id": 1, "points": [[25, 30]], "labels": [1]},
    {"frame_index": 6, "object_id": 1, "points": [[36, 30], [2, 2]], "labels": [1, 0]},
    {"frame_index": 5, "object_id": 2, "box": [20, 18, 50, 44]},
]
EVERYTHING = Outputs(
    masks=True,
    confidences="png",
    boxes=True,
    mot=True,
    rle=True,
    coco="rle",
    youtube_vis=True,
)


class Told:
    """A report that keeps its lines, and counts frames."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.frames = 0

    def begin(self, frames: int, done: int) -> None:
        self.lines.append(f"{done} of {frames}")

    def frame(self) -> None:
        self.frames += 1

    def stage(self, text: str, frames: int) -> None:
        pass

    def line(self, text: str) -> None:
        self.lines.append(text)


def run(
    paths: list[Path],
    options: JobOptions,
    stop: Callable[[Told], bool] = lambda _: False,
    prompts: Any = PROMPTS,
) -> Told:
    """Run a job with prompts from a file."""
    file = options.out.parent / "prompts.json"
    file.write_text(json.dumps(prompts))
    told = Told()
    run_jobs(read_jobs(paths, file), options, told, lambda: stop(told))
    return told


def files(folder: Path) -> dict[str, bytes]:
    """What a job wrote, without what it keeps for itself."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".masklet" not in path.parts
    }


@pytest.fixture
def options(tmp_path: Path, checkpoint: Path) -> JobOptions:
    """Everything but video, into ``out``."""
    return JobOptions(tmp_path / "out", EVERYTHING, Direction.BOTH, str(checkpoint), "cpu")


def test_what_cannot_be_written_or_used_is_refused_in_words(
    options: JobOptions, tmp_path: Path
) -> None:
    clip = pictures(tmp_path / "clip")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="Not a directory.*choose another --out"):
        run([clip], replace(options, out=tmp_path / "file"))
    with pytest.raises(ConfigError, match="--device: no device 'banana'"):
        run([clip], replace(options, device="banana"))


def test_both_ways_every_object_has_a_result_on_every_frame(
    options: JobOptions, tmp_path: Path
) -> None:
    told = run([video(tmp_path / "clip.mp4")], options)
    assert told.lines[0] == f"0 of {FRAMES - 3 + 6}"  # 3 to the end, and 5 to the beginning
    lines = [
        json.loads(line) for line in (tmp_path / "out/clip/rle.jsonl").read_text().splitlines()
    ]
    assert [line["frame_index"] for line in lines] == list(range(FRAMES))
    assert all([each["object_id"] for each in line["objects"]] == [1, 2] for line in lines)
    for index in range(FRAMES):
        name = f"{index:05}.png"
        ids = np.asarray(Image.open(tmp_path / "out/clip/palette" / name))
        masks = {
            each: np.asarray(Image.open(tmp_path / "out/clip/masks" / str(each) / name)) > 0
            for each in (1, 2)
        }
        assert (masks[2] == (ids == 2)).all()
        assert (masks[1] & ~masks[2] == (ids == 1)).all()
        share = np.asarray(Image.open(tmp_path / "out/clip/confidences/1" / name))
        assert share.dtype == np.uint16
        # Rounding may differ exactly between the two halves.
        assert (share[share != 32768] > 32768).sum() == masks[1][share != 32768].sum()


@pytest.mark.parametrize("at", [4, 13])
def test_job_that_was_stopped_goes_on_with_identical_results(
    at: int, options: JobOptions, tmp_path: Path
) -> None:
    clip = video(tmp_path / "clip.mp4")
    run([clip], options)
    stopped = replace(options, out=tmp_path / "stopped")
    with pytest.raises(StoppedError, match=rf"stopped after {at} of 15 frames"):
        run([clip], stopped, lambda told: told.frames == at)
    assert len(list((stopped.out / "clip/masks").rglob("*.png"))) >= at  # what is done is kept
    told = run([clip], stopped)
    assert told.lines[0] == f"{at} of 15"
    assert files(stopped.out) == files(options.out)
    # Once more: all is there.
    assert run([clip], stopped).lines[0] == "15 of 15"


def test_clips_together_have_the_results_they_have_alone(
    options: JobOptions, tmp_path: Path
) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    video(folder / "a.mp4"), video(folder / "b.mkv", 8), pictures(tmp_path / "c")
    paths = [folder, tmp_path / "c"]
    run(paths, options)
    together = replace(options, out=tmp_path / "together", together=2)
    with pytest.raises(StoppedError):
        run(paths, together, lambda told: told.frames >= 5)  # in the middle of a batch
    run(paths, together)
    assert sorted(path.name for path in together.out.iterdir()) == ["a", "b", "c"]
    # Batches of another size are summed in another order: masks may differ in a pixel.
    alone = files(options.out)
    for name in files(together.out):
        if name.startswith(("a/masks", "b/masks", "c/masks")):
            ours, theirs = (
                np.asarray(Image.open(out / name)) for out in (options.out, together.out)
            )
            assert (ours != theirs).mean() < 1e-3
            assert name in alone


def test_full_disk_ends_with_what_is_missing_and_the_job_goes_on(
    options: JobOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = video(tmp_path / "clip.mp4")
    run([clip], options)
    full = replace(options, out=tmp_path / "full")
    write = MaskPictures.write

    def fill(self: MaskPictures, frame: Any) -> None:
        if frame.frame_index == 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, frame)

    monkeypatch.setattr(MaskPictures, "write", fill)
    with pytest.raises(DiskFullError, match=r"Missing: clip: 11 of 15 frames and boxes\.json, mot"):
        run([clip], full)
    monkeypatch.setattr(MaskPictures, "write", write)
    run([clip], full)
    assert files(full.out) == files(options.out)


def test_other_prompts_are_not_mixed_with_earlier_results(
    options: JobOptions, tmp_path: Path
) -> None:
    clip = pictures(tmp_path / "clip")
    few = replace(options, outputs=Outputs(boxes=True))
    run([clip], few)
    with pytest.raises(ConfigError, match="a job with another prompts"):
        run([clip], few, prompts=PROMPTS[:1])
    with pytest.raises(ConfigError, match="without --confidences png"):
        run([clip], options)
    run([clip], replace(few, outputs=Outputs(boxes=True, masks=True)))  # from what is there
    assert len(list((few.out / "clip/masks/1").iterdir())) == FRAMES
    run([clip], replace(few, overwrite=True), prompts=PROMPTS[:1])
    assert not (few.out / "clip/masks").exists()
    boxes = json.loads((few.out / "clip/boxes.json").read_text())
    assert list(boxes) == [str(index) for index in range(FRAMES)]
    assert {each["object_id"] for own in boxes.values() for each in own} == {1}


def test_damaged_frames_are_counted_and_named(options: JobOptions, tmp_path: Path) -> None:
    clip = pictures(tmp_path / "clip")
    for name in ("8.png", "9.png"):
        (clip / name).write_bytes(b"damaged")
    told = run([clip], options)
    assert told.lines[-1].endswith("12 frames; 2 damaged frames were left out: 7, 8")
    with pytest.raises(ConfigError, match="frame 7 of .* is damaged"):
        run([clip], replace(options, overwrite=True), prompts=[PROMPTS[0] | {"frame_index": 7}])


def test_preview_alone_draws_the_prompted_frames_and_ends(
    options: JobOptions, tmp_path: Path
) -> None:
    clip = pictures(tmp_path / "clip")
    told = run([clip], replace(options, outputs=Outputs(preview=True)))
    assert told.frames == 0
    assert sorted(files(options.out)) == [f"clip/preview/0000{frame}.png" for frame in (3, 5, 6)]


def test_python_function_yields_frame_by_frame(checkpoint: Path, tmp_path: Path) -> None:
    clip = video(tmp_path / "clip.mp4")
    tracker = Tracker.from_checkpoint(checkpoint, device="cpu")
    results = list(segment(clip, PROMPTS, tracker, direction="backward", with_images=True))
    assert [each.frame_index for each in results] == [6, 5, 4, 3, 2, 1, 0]
    assert [len(each.tracks) for each in results] == [1, 2, 2, 2, 2, 2, 2]
    assert results[0].image is not None
    assert results[0].image.shape == (HEIGHT, WIDTH, 3)
    assert tracker.free_slots == 64  # nothing stays behind
    with pytest.raises(ConfigError, match=r"prompts\[0\]\.frame_index: clip\.mp4 has frames"):
        segment(clip, [PROMPTS[0] | {"frame_index": 99}], tracker)
