"""The synthetic clips follow their rules; DAVIS is read from a tar file."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from tests.tracker.evaluation.trackers import FirstMaskTracker
from tracker.evaluation import report, suites
from tracker.evaluation.arguments import make_parser
from tracker.evaluation.clips import ClipFrame, EvaluationClip, Split
from tracker.evaluation.davis import davis_clips
from tracker.evaluation.runner import evaluate_clip
from tracker.evaluation.synthetic import (
    TUNING_WINDOWS,
    WINDOWS,
    Window,
    open_scene,
    synthetic_clips,
)
from tracker.scenes import EVALUATION_SEED_START

SMALL = (160, 90)


def fractions(window: Window) -> dict[int, np.ndarray]:
    """Visible share of every tracked object on every second frame."""
    scene = open_scene(window, *SMALL)
    frames = [
        scene.render(window.start + index).visible_fraction
        for index in range(0, window.frame_count, 2)
    ]
    return {key: np.array([frame[key] for frame in frames]) for key in window.object_ids}


def test_all_seeds_are_held_out() -> None:
    windows = (*WINDOWS, *TUNING_WINDOWS)
    assert all(window.seed >= EVALUATION_SEED_START for window in windows)
    assert len({window.seed for window in windows}) == len(windows)


@pytest.mark.parametrize("category", ["occlusion", "re-entry"])
def test_objects_vanish_and_return(category: str) -> None:
    windows = [window for window in WINDOWS if window.category == category]
    assert len(windows) >= 4
    tuning = [window for window in TUNING_WINDOWS if window.category == category]
    for window in (*windows[:2], *tuning[:2]):
        for shares in fractions(window).values():
            gone = np.flatnonzero(shares < 0.02)
            assert shares[0] > 0.9
            assert len(gone) >= 2
            assert (shares[gone[-1] + 1 :] > 0.7).sum() >= 4


def test_objects_are_covered_in_part() -> None:
    crossing = [window for window in WINDOWS if window.category == "crossing"][:2]
    tuning = [window for window in TUNING_WINDOWS if window.category == "crossing"][:2]
    for window in (*crossing, *tuning):
        for shares in fractions(window).values():
            assert shares[0] > 0.9
            assert shares.min() < 0.65
            assert shares[-3:].min() > 0.85


@pytest.mark.parametrize("split", ["tuning", "reported"])
def test_every_clip_begins_with_its_objects(split: Split) -> None:
    for clip in synthetic_clips(*SMALL, split):
        first = next(clip.open())
        assert tuple(first.truth) == clip.object_ids
        assert all(mask.any() for mask in first.truth.values())


def encoded(array: np.ndarray, kind: str) -> bytes:
    stream = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert("1") if kind == "png" else image).save(stream, {"png": "PNG"}.get(kind, "JPEG"))
    return stream.getvalue()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "davis_small.tar"
    mask = np.zeros((24, 32), dtype=np.uint8)
    mask[4:12, 6:20] = 255
    with tarfile.open(path, "w") as tar:
        for index in range(4):
            for folder, kind, content in (
                ("frames", "jpg", np.full((24, 32, 3), 90, dtype=np.uint8)),
                ("masks", "png", mask),
            ):
                data = encoded(content, kind)
                entry = tarfile.TarInfo(f"walk/{folder}/{index:05d}.{kind}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
    return path


def test_davis_sequences_are_read_from_a_tar(archive: Path) -> None:
    (clip,) = davis_clips(archive.parent)
    frames = list(clip.open())
    assert (clip.name, clip.frame_count, len(frames)) == ("walk", 4, 4)
    assert frames[0].image.shape == (24, 32, 3)
    assert frames[0].truth[1].sum() == 8 * 14


def test_a_folder_without_the_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a tar file"):
        davis_clips(tmp_path)


def test_an_archive_with_a_missing_mask_is_refused(archive: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.tar"
    with tarfile.open(archive) as source, tarfile.open(broken, "w") as target:
        for member in source.getmembers()[:-1]:
            target.addfile(member, source.extractfile(member))
    with pytest.raises(ValueError, match="walk has 4 frames and 3 masks"):
        davis_clips(broken)


def test_the_report_has_clips_categories_and_the_total(archive: Path) -> None:
    (clip,) = davis_clips(archive)
    scores = [evaluate_clip(FirstMaskTracker(), clip)]
    console = Console(width=80, record=True, file=io.StringIO())
    for table in report.tables(scores, "a tracker on a suite"):
        console.print(table)
    text = console.export_text()
    assert "walk" in text
    assert "1.000" in text
    assert "HOTA" in text
    assert "…" not in text
    content = json.loads(json.dumps(report.as_json(scores, "davis", "nano", "mask")))
    assert content["all"]["mean"] == 1.0
    assert content["categories"]["davis2016"]["objects"] == 1
    assert content["clips"][0]["objects"][0]["returned"] is None


def test_a_clip_is_limited_to_the_objects_visible_longest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Object 1 is visible on two frames, 2 on three, 3 (boxes) on three, 4 never."""
    shown, hidden = np.ones((4, 4), np.bool_), np.zeros((4, 4), np.bool_)
    frames = [
        ClipFrame(
            np.zeros((4, 4, 3), np.uint8),
            {1: shown if index < 2 else hidden, 2: shown if index > 0 else hidden, 4: hidden},
            {3: (0, 0, 2, 2) if index != 2 else None},
        )
        for index in range(4)
    ]
    clip = EvaluationClip("four", "any", (1, 2, 3, 4), 4, lambda: iter(frames))
    monkeypatch.setattr(suites, "synthetic_clips", lambda split: [clip])
    for most, expected in ((1, (2,)), (2, (2, 3)), (3, (1, 2, 3)), (9, (1, 2, 3, 4))):
        (limited,) = suites.clips_of(
            make_parser("evaluate").parse_args(["--max-objects", str(most)])
        )
        assert limited.object_ids == expected
    tracker = FirstMaskTracker()
    evaluate_clip(tracker, replace(clip, object_ids=(2,)))
    assert {prompt.object_id for prompt in tracker.prompts} == {2}
