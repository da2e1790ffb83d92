"""Outputs of an evaluation: plots, and videos of its worst clips."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from tests.tracker.evaluation.trackers import FirstMaskTracker
from tracker.evaluation.ablation_report import Headline
from tracker.evaluation.clips import ClipFrame, EvaluationClip
from tracker.evaluation.comparison_video import CAPTION_HEIGHT, WorstClips
from tracker.evaluation.missing import MissingLibraryError
from tracker.evaluation.plots import require_matplotlib, write_ablation_plot, write_plots
from tracker.evaluation.runner import evaluate_clip


def clip(name: str, step: int, width: int = 48) -> EvaluationClip:
    """A square that moves ``step`` pixels per frame: the faster, the worse a static mask."""

    def frames() -> Iterator[ClipFrame]:
        for index in range(5):
            truth = np.zeros((32, width), dtype=np.bool_)
            truth[8:20, 2 + step * index : 14 + step * index] = True
            image = np.full((32, width, 3), 80, dtype=np.uint8)
            image[truth] = 200
            yield ClipFrame(image, {1: truth})

    return EvaluationClip(name, "a", (1,), 5, frames)


def test_plots_are_written(tmp_path: Path) -> None:
    scores = [evaluate_clip(FirstMaskTracker(), clip("slow", 1))]
    written = write_plots(scores, tmp_path / "new", "a tracker")
    assert [path.name for path in written] == [
        "success.png",
        "reliability.png",
        "categories.png",
    ]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


def test_an_ablation_is_plotted(tmp_path: Path) -> None:
    line = Headline("robust", {"a": 0.5}, 0.5, None, None, None, None, None)
    path = tmp_path / "ablation.png"
    write_ablation_plot([line, replace(line, row="sam2", mean=0.4)], path, "an ablation")
    assert path.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_the_error_has_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingLibraryError, match=r"pip install 'masklet\[evaluation\]'"):
        require_matplotlib()


def test_only_videos_of_the_worst_clips_are_kept(tmp_path: Path) -> None:
    worst = WorstClips(tmp_path, 2)
    for each in (clip("slow", 1), clip("fast", 5), clip("still", 0), clip("middle", 3)):
        worst.finished(evaluate_clip(FirstMaskTracker(), each, on_frame=worst))
        assert len(list(tmp_path.iterdir())) <= 2
    assert [path.name for path in worst.films] == ["a,fast.mp4", "a,middle.mp4"]
    with av.open(str(worst.films[0])) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == 5
    assert frames[0].shape == (CAPTION_HEIGHT + 32, 96, 3)
    captions = [frame[:CAPTION_HEIGHT] for frame in frames]
    assert all(caption.max() > 200 for caption in captions)
    frames = [frame[CAPTION_HEIGHT:] for frame in frames]
    # On the last frame the left half shows the square where it is, the right one where it was.
    left, right = frames[4][:, :48].astype(int), frames[4][:, 48:].astype(int)
    reddish = [half[14, :, 0] - half[14, :, 1] > 60 for half in (left, right)]
    assert reddish[0][28]
    assert not reddish[0][6]
    assert reddish[1][6]


def test_clips_with_similar_names_have_separate_videos(tmp_path: Path) -> None:
    worst = WorstClips(tmp_path, 4)
    names = ("walk 1", "walk-1", "walk/1", "walk+1")
    for name in names:
        worst.finished(evaluate_clip(FirstMaskTracker(), clip(name, 1), on_frame=worst))
    assert len(list(tmp_path.iterdir())) == len(set(worst.films)) == len(names)


def test_a_skipped_clip_has_no_video(tmp_path: Path) -> None:
    worst = WorstClips(tmp_path, 2)
    evaluate_clip(FirstMaskTracker(), clip("slow", 1), on_frame=worst)
    worst.left_out()
    assert not worst.films
    assert not list(tmp_path.iterdir())


def test_videos_of_large_pictures_are_smaller(tmp_path: Path) -> None:
    worst = WorstClips(tmp_path, 1)
    worst.finished(evaluate_clip(FirstMaskTracker(), clip("wide", 1, 1300), on_frame=worst))
    with av.open(str(worst.films[0])) as film:
        assert film.streams.video[0].width == 2 * 640
        assert film.streams.video[0].height == CAPTION_HEIGHT + 14
