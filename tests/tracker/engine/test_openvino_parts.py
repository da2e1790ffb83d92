"""Parts by OpenVINO track the same, are kept for the next start, and never stop one."""

from __future__ import annotations

import logging
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from tests.tracker.little import LITTLE, assert_same, click, little_picture, little_tracker, step
from tracker import Track, Tracker
from tracker.engine import openvino_parts
from tracker.engine.kept_choices import KeptChoices
from tracker.engine.openvino_parts import Function, OpenVinoParts, Part
from tracker.engine.path_choice import PathChoice
from tracker.options import EngineOptions

SECONDS_OF = {"torch": 2.0, "openvino": 1.0}
PARTS = ("encode_image", "attend_memory", "decode", "finish_memory")
# Memories in bfloat16, as those of nano.
CONFIG = LITTLE.replaced(memory_dtype="bfloat16")
FULL_BANK = CONFIG.max_object_pointers + 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a first start leaves."""
    folder = tmp_path_factory.mktemp("cache")
    _warmed(folder)
    return folder


@pytest.fixture
def always_faster(folder: Path) -> None:
    """OpenVINO is chosen, whatever was measured."""
    kept = KeptChoices(folder)
    choice = kept.find(CONFIG)
    assert choice is not None
    assert choice.openvino is not None
    times = dict.fromkeys(PARTS, SECONDS_OF)
    assert times.keys() <= choice.milliseconds.keys()  # both were exported, and measured
    kept.keep(CONFIG, PathChoice(choice.paths, choice.milliseconds).with_parts(times))


def _warmed(folder: Path | None, openvino: str = "auto") -> Tracker:
    options = EngineOptions(
        path_cache=None if folder is None else str(folder),
        openvino=openvino,  # type: ignore[arg-type]
    )
    tracker = little_tracker(config=CONFIG, engine=options)
    tracker.warm_up()
    return tracker


def _tracks(tracker: Tracker) -> list[dict[int, Track]]:
    session = tracker.open_session()
    prompts = [[click(1), click(2, 50, 40)], *[[]] * FULL_BANK]
    return [
        step(tracker, session, little_picture(index), *own) for index, own in enumerate(prompts)
    ]


@pytest.mark.usefixtures("always_faster")
def test_a_tracker_with_openvino_tracks_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.export, "export", _forbidden)  # kept by an earlier start
    tracker = _warmed(folder)
    assert tracker.paths is not None
    assert tracker.paths.openvino == PARTS
    reasons = tracker.paths.reasons()
    assert {
        f"{part} by openvino"
        for part in ("image encoder", "memory attention", "mask decoder", "memory encoder")
    } <= reasons.keys()
    by_openvino = tracker._engine.parts._by_openvino
    assert set(by_openvino) == set(PARTS)
    attend = Mock(wraps=by_openvino["attend_memory"])
    by_openvino["attend_memory"] = attend
    for ours, theirs in zip(_tracks(tracker), _tracks(_warmed(None)), strict=True):
        for object_id in (1, 2):
            assert_same(ours[object_id], theirs[object_id])
    attend.assert_called()  # once the bank was full


@pytest.mark.usefixtures("always_faster")
def test_beside_openvino_pytorch_takes_all_threads_only_for_the_parts_left_to_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = _warmed(folder)
    parts, threads, seen = tracker._engine.parts, torch.get_num_threads(), set[tuple[str, int]]()

    def seen_in(name: str, function: Function) -> Function:
        def call(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            seen.add((name, torch.get_num_threads()))
            return function(*tensors)

        return call

    for name, part in parts._by_openvino.items():
        parts._by_openvino[name] = seen_in(name, part)
    monkeypatch.setattr(parts, "_attend", seen_in("not full", parts._attend))
    torch.set_num_threads(2)
    try:
        _tracks(tracker)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert seen == {("not full", 2), *((name, 1) for name in PARTS)}


@pytest.mark.usefixtures("always_faster")
def test_damaged_files_are_exported_anew(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (file,) = folder.rglob("decode.xml")
    file.write_bytes(b"<net")
    with caplog.at_level(logging.WARNING):
        assert set(_warmed(folder)._engine.parts._by_openvino) == set(PARTS)
    assert "exported anew" in caplog.text
    file.write_bytes(b"")
    monkeypatch.setattr(torch.export, "export", _refused)
    tracker = _warmed(folder)
    assert set(tracker._engine.parts._by_openvino) == set(PARTS) - {"decode"}
    assert "decode by OpenVINO is left out: no such operator" in caplog.text
    _tracks(tracker)


@pytest.mark.parametrize("reason", ["off", "not installed", "too large"])
def test_without_openvino_pytorch_computes(
    folder: Path, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason == "not installed":
        monkeypatch.setattr(openvino_parts, "version", lambda: None)
    if reason == "too large":
        monkeypatch.setattr(openvino_parts, "_MOST_PARAMETERS", 1000)
    tracker = _warmed(folder, "off" if reason == "off" else "auto")
    assert not tracker._engine.parts._by_openvino
    assert tracker.paths is not None
    assert not any("openvino" in path for path in tracker.paths.reasons())


def test_a_part_with_other_results_is_left_out(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = torch.nn.Linear(4, 4)
    parts = OpenVinoParts(folder, network, "a network")
    example = (torch.ones(1, 4),)
    exported = Part(lambda x: (network(x),), example)
    with torch.inference_mode():
        assert parts.measure({"part": exported})["part"].keys() == {"torch", "openvino"}
        changed = Part(lambda x: (1.1 * network(x),), example)
        assert parts.measure({"part": changed}) == {}
    assert "off by" in caplog.text
    for number in range(5):
        another = OpenVinoParts(folder, network, f"{number}")
        another.load({"part": exported}, ["part"])
    assert len(list((folder / "openvino").iterdir())) == 4


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_rows_are_computed_alike_one_by_one_and_together(
    folder: Path, threads: int, rows: int
) -> None:
    network = torch.nn.Linear(4, 4)
    parts = OpenVinoParts(folder, network, f"a network of {rows} rows, {threads} threads")
    part = Part(lambda x, y: (network(x) + y, 2 * x), (torch.ones(1, 4), torch.ones(1, 1)))
    tables = torch.randn(rows, 4), torch.randn(rows, 1)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            function = parts.load({"part": part}, ["part"])["part"]
            expected = part.function(*tables)
            for _ in range(2):
                for made, own in zip(function(*tables), expected, strict=True):
                    torch.testing.assert_close(made, own)
            kept = function(*tables)
            function(*(0 * table for table in tables))  # fills other memory
            torch.testing.assert_close(kept[0], expected[0])
    finally:
        torch.set_num_threads(before)


def _forbidden(*_: object, **__: object) -> None:
    raise AssertionError("nothing is exported twice")


def _refused(*_: object, **__: object) -> None:
    raise RuntimeError("no such operator\nmore")
