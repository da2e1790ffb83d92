"""Measurements are kept on disk, pair frames with captures correctly, and teach their use."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import latency, memory_growth
from benchmarks.results import Result, Results
from benchmarks.webrtc_latency import CaptureTimes
from tests.tracker.agreement.scripts import SMALL


def test_help_teaches_parts_and_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["--help"])
    text = capsys.readouterr().out
    assert all(f"\n  {part} " in text for part in command.PARTS)
    assert "python -m benchmarks --part latency --streams 1 4" in text


def test_the_chosen_parts_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(command.PARTS, "nano", lambda *_: [("Title", "| table |")])
    assert command.main(["--part", "nano", "--output", str(tmp_path / "new")]) == 0
    assert (tmp_path / "new" / "report.md").read_text() == "## Title\n\n| table |\n"


def test_a_finished_measurement_is_not_taken_again(tmp_path: Path) -> None:
    taken: list[int] = []

    def measurement() -> Result:
        taken.append(1)
        return {"value": len(taken)}

    assert Results(tmp_path).measure("one", measurement) == {"value": 1}
    assert Results(tmp_path).measure("one", measurement) == {"value": 1}
    assert Results(tmp_path).measure("other", measurement) == {"value": 2}


def test_a_measurement_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Result:
        raise RuntimeError("out of patience")

    with pytest.raises(RuntimeError):
        Results(tmp_path).measure("one", failing)
    assert Results(tmp_path).get("one") is None


def test_memory_is_read_after_every_frame(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(memory_growth.PRESETS, memory_growth.MODEL, SMALL)
    result = memory_growth.track("masklet", 4)
    assert len(result["resident_mib"]) == 4
    assert "| masklet |" in memory_growth.report([result])
    memory_growth.plot([result], tmp_path / "memory.png")
    assert (tmp_path / "memory.png").stat().st_size > 1000


def test_pictures_are_paired_with_their_pushes_by_media_time() -> None:
    interval_ns = 40_000_000
    pushes = [1_000_000_000 + index * interval_ns for index in range(100)]
    # From the tenth push on, one picture missing; one is done 95 ms late, the others 7 ms.
    passages = [
        latency.Passage(
            stream=0,
            media_time_s=5.0 + place * 0.04,
            arrival_ns=pushes[10 + place] + 2_000_000,
            done_ns=pushes[10 + place] + (95_000_000 if place == 30 else 7_000_000),
        )
        for place in range(50)
        if place != 20
    ]
    found = latency.latencies_ms(passages, pushes)
    assert len(found) == 49
    assert sorted(set(found)) == [7.0, 95.0]


def test_the_age_of_a_picture_counts_from_its_last_capture() -> None:
    # Numbers repeat with every turn of the clip; an illegible picture has none. The page read the
    # second picture 30 ms late.
    first_turn = [(0, 0.0, 1000.0), (1, 40.0, 1070.0), (None, 80.0, 1080.0)]
    capture = CaptureTimes([*first_turn, (0, 8000.0, 9000.0), (1, 8040.0, 9040.0)])
    assert capture.before(1, 1100.0) == 1040.0
    assert capture.before(1, 9100.0) == 9040.0
    assert capture.before(1, 1030.0) is None
    assert capture.ages_ms([(0, 1050.0), (1, 9050.0), (7, 9050.0)]) == [50.0, 10.0]


def test_a_match_is_encoded_as_by_a_camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "CLIP_S", 1)
    path = latency.write_match(tmp_path / "match.mp4", 10_005)
    with latency.av.open(str(path)) as container:
        pictures = [frame.pts for frame in container.decode(video=0)]
    assert len(pictures) == latency.RATE_HZ
