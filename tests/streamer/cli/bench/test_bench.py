"""``masklet bench`` finds the limit of a machine, resumes, and reports its measurements."""

from __future__ import annotations

import asyncio
import io
import json
import math
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.cli.bench.cell import SETTLE_S, CellResult, CellRunner, percentile
from streamer.cli.bench.frames import bench_stream, recorded_frame, render_frames
from streamer.cli.bench.report import BenchReport, describe_machine
from streamer.cli.bench.search import Cell, FrontierSearch
from streamer.cli.bench.search_run import EXIT_INTERRUPTED, BenchFiles, finish, search
from streamer.cli.main import main
from streamer.cli.terminal import Terminal
from streamer.config.loading import load_config
from streamer.errors import MaskletError
from tests.streamer.fakes import FakeTracker

# The command logs errors only, for the whole process.
pytestmark = pytest.mark.usefixtures("root_logger")

SETTINGS = {
    "model": "nano",
    "device": "cpu",
    "machine": "a machine of tests",
    "paths": ["linear layers by mkl"],
    "overrides": [],
    "width": 640,
    "height": 360,
    "rate_hz": 25.0,
    "cell_s": 8.0,
}


class Machine:
    """Takes 2 ms for a frame and 4 ms for an object, as a clock that it turns says."""

    def __init__(self, interrupt_after: int | None = None) -> None:
        self.now_s = 0.0
        self.measured: list[Cell] = []
        self.longest_s = 10.0
        self._interrupt_after = interrupt_after

    async def measure(self, cell: Cell) -> CellResult:
        if len(self.measured) == self._interrupt_after:
            raise KeyboardInterrupt
        self.measured.append(cell)
        self.now_s += 10.0
        busy_ms = cell.streams * (2 + 4 * cell.objects)
        lost = max(0.0, 1 - 40 / busy_ms)
        rate = cell.streams * 25 * (1 - lost)
        return CellResult(
            cell.streams, cell.objects, round(rate * 8), rate, lost, busy_ms, 2 * busy_ms, 5.0, 6.0
        )


def report(results: dict[Cell, CellResult] | None = None, **further: float) -> BenchReport:
    given = {"objective_p99_ms": 100.0, "lost_share": 0.01, **further}
    return BenchReport(FrontierSearch([1, 2, 4], 16, 64), results or {}, SETTINGS, **given)


def console() -> Terminal:
    return Terminal(file=io.StringIO(), width=120)


@given(
    limits=st.lists(st.integers(0, 40), min_size=1, max_size=5),
    most_streams=st.integers(1, 40),
)
def test_search_finds_the_limit_of_any_machine(limits: list[int], most_streams: int) -> None:
    objects = [2**power for power in range(len(limits))]
    truth = dict(zip(objects, sorted(limits, reverse=True), strict=True))
    finder = FrontierSearch(objects, most_streams, most_objects_in_all=64)
    known: dict[Cell, bool] = {}
    while (cell := finder.next_cell(known)) is not None:
        assert cell not in known
        assert 1 <= cell.streams <= most_streams
        assert cell.streams * cell.objects <= 64
        known[cell] = cell.streams <= truth[cell.objects]
    for each in objects:
        limit = min(most_streams, 64 // each)
        assert finder.carried(each, known) == min(truth[each], limit)
        assert finder.is_limited(each, known) == (truth[each] >= limit)
    assert len(known) <= len(objects) * 2 * math.ceil(math.log2(most_streams + 1) + 1)


@given(st.dictionaries(st.builds(Cell, st.integers(1, 8), st.integers(1, 8)), st.booleans()))
def test_search_ends_despite_contradicting_measurements(known: dict[Cell, bool]) -> None:
    finder = FrontierSearch([1, 2, 4, 8], 8, 64)
    for _ in range(40):
        cell = finder.next_cell(known)
        if cell is None:
            return
        known = {**known, cell: True}
    pytest.fail("40 cells and no end")


def test_bench_runs_until_the_search_is_finished(tmp_path: Path) -> None:
    machine = Machine()
    files = BenchFiles.under(tmp_path, plot=False)
    found, code = search(report(), machine, files, 3600, console(), lambda: machine.now_s)
    assert code == 0
    assert found.is_complete
    kept = json.loads(files.json.read_text())
    assert kept["carried"] == {"1": 6, "2": 4, "4": 2}
    assert kept["complete"] is True
    assert "| 1 | 6 | 36 / 72 ms | 5.0 / 6.0 ms | 150 | 7: p99 84 ms, 5% lost" in (
        files.markdown.read_text()
    )


def test_time_limit_keeps_the_results_and_the_next_run_resumes(tmp_path: Path) -> None:
    files = BenchFiles.under(tmp_path, plot=False)
    machine = Machine()
    first, _ = search(report(), machine, files, 35, console(), lambda: machine.now_s)
    assert len(machine.measured) == 3
    assert not first.is_complete
    assert "≥ 4" in first.markdown()
    assert "run it again" in first.description()
    again = Machine()
    known = files.known(SETTINGS)
    second, _ = search(report(known), again, files, 3600, console(), lambda: again.now_s)
    assert second.is_complete
    assert not set(again.measured) & set(machine.measured)


def test_other_objective_judges_the_same_cells_again(tmp_path: Path) -> None:
    files = BenchFiles.under(tmp_path, plot=False)
    machine = Machine()
    search(report(), machine, files, 3600, console(), lambda: machine.now_s)
    stricter = report(files.known(SETTINGS), objective_p99_ms=50.0)
    assert stricter.search.carried(1, stricter.known) == 4


def test_interruption_keeps_the_cells(tmp_path: Path) -> None:
    files = BenchFiles.under(tmp_path, plot=False)
    machine = Machine(interrupt_after=2)
    found, code = search(report(), machine, files, 3600, console(), lambda: machine.now_s)
    assert code == EXIT_INTERRUPTED
    finish(found, files, console())
    assert len(files.known(SETTINGS)) == 2


def test_results_of_other_settings_are_not_mixed(tmp_path: Path) -> None:
    files = BenchFiles.under(tmp_path, plot=False)
    files.write(report())
    with pytest.raises(MaskletError, match=r"another model, rate_hz; give another --output-dir"):
        files.known({**SETTINGS, "model": "large", "rate_hz": 5.0})
    for text in ("[]", "no JSON", '{"settings": 5, "cells": []}', '{"settings": {}, "cells": [5]}'):
        files.json.write_text(text)
        with pytest.raises(MaskletError, match="no result of masklet bench"):
            files.known(SETTINGS)
    files.json.unlink()
    files.json.mkdir()
    with pytest.raises(MaskletError, match="bench.json cannot be read"):
        files.known(SETTINGS)


def test_plot_is_drawn(tmp_path: Path) -> None:
    machine = Machine()
    files = BenchFiles.under(tmp_path, plot=True)
    found, _ = search(report(), machine, files, 3600, console(), lambda: machine.now_s)
    finish(found, files, console())
    assert files.plot is not None
    assert files.plot.read_bytes().startswith(b"\x89PNG")


def test_missing_matplotlib_is_reported_before_measuring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["bench", "--output-dir", str(tmp_path / "out")]) == 1
    assert "pip install 'masklet[evaluation]', or give --no-plot" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--objects", "1,99"], "must be numbers from 1 to 64 as 1,4,16, got '1,99'"),
        (["--size", "9x9"], "must be between 64x64 and 4096x4096, got '9x9'"),
        (["--lost-share", "2"], "must be at least 0 and below 1, got '2'"),
        (["--objective-p99-ms", "0"], "must be above 0, got 0"),
    ],
)
def test_impossible_argument_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["bench", *arguments])
    assert message in capsys.readouterr().err


def test_percentile_is_a_value_that_was_measured() -> None:
    values = [float(value) for value in range(1, 101)]
    assert percentile(values, 0.99) == 99.0
    assert percentile([7.0], 0.5) == 7.0
    assert percentile([], 0.5) == 1e9


def test_boxes_repeat_for_more_objects_than_players() -> None:
    frame = render_frames(320, 180, 25.0)[0]
    stream = bench_stream(frame, 30)
    assert [each.id for each in stream.objects] == list(range(1, 31))
    assert stream.objects[0].box == stream.objects[len(frame.boxes)].box


def test_cell_runs_the_daemon_with_a_reader(tmp_path: Path) -> None:
    tracker = FakeTracker()
    runner = CellRunner(
        # Whose own daemon may run meanwhile.
        load_config(None, ["api.port=1"], []),
        [tracker],  # type: ignore[list-item]
        render_frames(160, 96, 25.0),
        rate_hz=20.0,
        cell_s=0.5,
    )
    result = asyncio.run(runner.measure(Cell(objects=3, streams=2)))
    assert (result.streams, result.objects) == (2, 3)
    assert result.frames > 4
    assert 0 < result.latency_p50_ms <= result.latency_p99_ms < 1e4
    assert result.lost_share < 1
    assert all(session.closed for session in tracker.sessions)


def written_clip(path: Path, frames: int) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=20)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        for shade in range(frames):
            picture = np.full((96, 160, 3), 8 * shade, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def test_cell_plays_a_recording_in_a_loop(tmp_path: Path) -> None:
    clip = written_clip(tmp_path / "gate.mp4", 6)
    frame, rate_hz = recorded_frame(clip)
    assert (rate_hz, frame.image.shape, len(frame.boxes)) == (20, (96, 160, 3), 64)
    assert frame.boxes[-1] == (140, 84, 158, 94)
    runner = CellRunner(
        load_config(None, ["api.port=1"], []),
        [FakeTracker()],  # type: ignore[list-item]
        [frame],
        rate_hz,
        cell_s=0.5,
        clip=clip,
    )
    result = asyncio.run(runner.measure(Cell(objects=3, streams=2)))
    # Once all objects are tracked, reading waits for longer than the clip lasts.
    assert 6 / rate_hz < SETTLE_S
    assert result.frames > 0


def test_recording_that_cannot_be_played_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    for clip, message in (
        (tmp_path / "missing.mp4", "missing.mp4 does not exist; check the path"),
        (tmp_path / "text.mp4", "text.mp4 is not video"),
        (written_clip(tmp_path / "still.mp4", 1), "still.mp4: it has a single frame"),
    ):
        output = ["--no-plot", "--output-dir", str(tmp_path / "out")]
        assert main(["bench", "--clip", str(clip), *output]) != 0
        shown = capsys.readouterr().err
        assert f"bench --clip: {tmp_path}" in shown
        assert message in shown


def test_machine_is_described_with_the_threads_of_the_model() -> None:
    assert " on 7 threads, Python " in describe_machine(7)
