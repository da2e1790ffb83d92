"""The examples that make something of the results: a line counter and a heat map."""

from __future__ import annotations

import runpy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import pytest

from tests.streamer.sinks.zeromq.helpers import background_publisher

EXAMPLES = Path(__file__).parents[2] / "deploy" / "examples"


@pytest.fixture(scope="module")
def counter_class() -> Any:
    return runpy.run_path(str(EXAMPLES / "line_counter.py"))["LineCounter"]


def run(script: str, *arguments: str, folder: Path) -> str:
    with background_publisher() as endpoint:
        finished = subprocess.run(
            [sys.executable, str(EXAMPLES / script), endpoint, "--stream", "gate", *arguments],
            cwd=folder, capture_output=True, text=True, timeout=150, check=False,
        )  # fmt: skip
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def test_line_is_crossed_in_both_directions_and_only_between_its_ends(counter_class: Any) -> None:
    counter = counter_class((0, 100), (200, 100))  # to the right in the picture: below is right
    assert counter.see(1, "person", (50, 80)) is None
    assert counter.see(1, "person", (60, 120)) == "to the right"
    assert counter.see(1, "person", (60, 130)) is None
    assert counter.see(1, "person", (60, 90)) == "to the left"
    assert counter.see(2, "car", (300, 80)) is None
    assert counter.see(2, "car", (300, 120)) is None  # past the end of the line
    assert dict(counter.counts) == {("to the right", "person"): 1, ("to the left", "person"): 1}


def test_object_that_was_removed_does_not_cross_when_its_number_comes_back(
    counter_class: Any,
) -> None:
    counter = counter_class((0, 100), (200, 100))
    counter.see(1, None, (50, 80))
    counter.keep({2})
    assert counter.see(1, None, (50, 120)) is None
    assert counter._last.keys() == {1}


def test_line_counter_reads_the_results(tmp_path: Path) -> None:
    said = run("line_counter.py", "--line", "0,30,64,30", "--count", "20", folder=tmp_path)
    assert said == "0 crossings in 20 frames\n"


def test_totals_are_printed_after_ctrl_c(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main = runpy.run_path(str(EXAMPLES / "line_counter.py"))["main"]

    @contextmanager
    def interrupted(*_: object) -> Iterator[Iterator[object]]:
        def messages() -> Iterator[object]:
            yield SimpleNamespace(objects=[])
            raise KeyboardInterrupt

        yield messages()

    monkeypatch.setitem(main.__globals__, "Subscriber", interrupted)
    monkeypatch.setattr(sys, "argv", ["", "--stream", "gate", "--line", "0,30,64,30"])
    main()
    assert capsys.readouterr().out == "0 crossings in 1 frames\n"


def test_heat_map_holds_the_masks(tmp_path: Path) -> None:
    said = run("heat_map.py", "--count", "20", "--out", "heat.png", folder=tmp_path)
    assert said == "heat.png: 20 frames, at most 20 of them on one pixel\n"
    picture = cv2.imread(str(tmp_path / "heat.png"))
    warm = picture.any(axis=2)
    assert warm.sum() == 18
    assert warm[20:26, 10:15].sum() == 18
