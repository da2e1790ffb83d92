"""The paths of a processor are those that measured fastest, and are kept for the next start."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.tracker.little import LITTLE, assert_same, click, little_picture, little_tracker, step
from tracker.engine import path_choice
from tracker.engine.kept_choices import KeptChoices
from tracker.engine.path_choice import PathChoice, measure
from tracker.model import cpu_paths
from tracker.model.cpu_paths import BY_MKL, BY_ONEDNN, FUSED, AttentionPath, CpuPaths
from tracker.options import EngineOptions

CHOICE = PathChoice(
    CpuPaths("mkl", BY_ONEDNN, FUSED),
    {"linear": {"mkl": 1.0}, "narrow": {str(BY_ONEDNN): 2.0, "fused": 3.0}, "wide": {"fused": 4.0}},
)


def clock_for(*seconds: float) -> Iterator[float]:
    """A clock on which the given calls take these seconds: all read before and after each call."""
    now = 0.0
    yield now
    for duration in seconds:
        yield now
        now += duration
        yield now


def test_the_fastest_candidate_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path_choice, "ONEDNN_IS_HERE", True)
    monkeypatch.setattr(path_choice, "_CHUNKS", (BY_MKL, BY_ONEDNN))
    monkeypatch.setattr(path_choice, "_MOST_ROUNDS", 1)
    times = [*clock_for(3.0, 2.0), *clock_for(3.0, 1.0, 2.0), *clock_for(1.0, 2.0, 3.0)]
    readings = iter(times)
    choice = measure(LITTLE, lambda: next(readings))
    assert choice.paths == CpuPaths("onednn", BY_MKL, FUSED)
    assert choice.milliseconds["narrow"] == {
        "fused": 3000.0, "mkl 512x1024": 1000.0, "onednn 512x2048": 2000.0,
    }  # fmt: skip
    assert choice.reasons()["attention to memories by mkl 512x1024"] == (
        "mkl 512x1024 1000.00 ms, onednn 512x2048 2000.00 ms, fused 3000.00 ms"
    )


def test_threads_are_as_before() -> None:
    before = torch.get_num_threads()
    assert set(measure(LITTLE).milliseconds) == {"linear", "narrow", "wide"}
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    "paths",
    [
        CpuPaths("mkl", BY_MKL, AttentionPath("mkl", 64, 100)),
        CpuPaths("onednn", BY_ONEDNN, BY_ONEDNN),
    ],
)
def test_every_path_tracks_the_same(paths: CpuPaths) -> None:
    large = LITTLE.replaced(image_size=256)  # so that its attention takes chunks
    own, other = (little_tracker(config=large) for _ in range(2))
    sessions = own.open_session(), other.open_session()
    for index in range(4):
        prompts = [click(1)] if index == 0 else []
        with cpu_paths.using(paths):
            ours = step(own, sessions[0], little_picture(index, 256, 256), *prompts)
        with cpu_paths.using(CpuPaths("mkl", FUSED, FUSED)):
            theirs = step(other, sessions[1], little_picture(index, 256, 256), *prompts)
        assert_same(ours[1], theirs[1])


def test_a_choice_is_kept_for_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    options = EngineOptions(path_cache=str(tmp_path / "new" / "folder"), openvino="off")
    first = little_tracker(engine=options)
    assert first.paths is None
    first.warm_up()
    assert first.paths is not None
    monkeypatch.setattr("tracker.engine.network_parts.measure", _forbidden)
    second = little_tracker(engine=options)
    with caplog.at_level(logging.INFO):
        second.warm_up()
    assert second.paths == first.paths
    assert "measured at an earlier start" in caplog.text


def test_another_model_or_version_is_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = KeptChoices(tmp_path)
    kept.keep(LITTLE, CHOICE)
    assert kept.find(LITTLE) == CHOICE
    assert kept.find(replace(LITTLE, image_size=4096)) is None
    for minor in range(40):
        monkeypatch.setattr(torch, "__version__", f"9.{minor}")
        assert kept.find(LITTLE) is None
        kept.keep(LITTLE, CHOICE)
    assert len(json.loads((tmp_path / "paths.json").read_bytes())) == 32
    assert kept.find(LITTLE) == CHOICE


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\x00", b"[]", b'{"a": 1}', b"null", b"1e999", b"[" * 100_000],
)
def test_a_damaged_file_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "paths.json").write_bytes(content)
    kept = KeptChoices(tmp_path)
    assert kept.find(LITTLE) is None
    kept.keep(LITTLE, CHOICE)
    assert kept.find(LITTLE) == CHOICE
    assert os.listdir(tmp_path) == ["paths.json"]


@pytest.mark.parametrize("wrong", [None, 1, {"paths": 3}, {"paths": {"linear": "mkl"}}])
def test_an_entry_of_another_form_is_measured_anew(tmp_path: Path, wrong: object) -> None:
    kept = KeptChoices(tmp_path)
    kept.keep(LITTLE, CHOICE)
    file = tmp_path / "paths.json"
    ((key, right),) = json.loads(file.read_bytes()).items()
    entries = [
        wrong,
        right | {"milliseconds": {}},
        right | {"milliseconds": {name: {"mkl": "fast"} for name in right["milliseconds"]}},
        right | {"paths": right["paths"] | {"linear": "another"}},
        right | {"paths": right["paths"] | {"narrow": ["mkl", 0, -1]}},
    ]
    for entry in entries:
        file.write_text(json.dumps({key: entry}))
        assert kept.find(LITTLE) is None
    file.write_text(json.dumps({key: right}))
    assert kept.find(LITTLE) == CHOICE


def test_a_folder_that_cannot_be_written_costs_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with caplog.at_level(logging.INFO):
        KeptChoices(tmp_path / "file").keep(LITTLE, CHOICE)
    assert "measured paths are not kept" in caplog.text
    assert KeptChoices(tmp_path / "file").find(LITTLE) is None


def _forbidden(*_: object) -> PathChoice:
    raise AssertionError("nothing is measured twice")
