"""A visit to a device ends in time, keeps what it measured, and goes on after a kill."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmarks.device import __main__ as command_line
from benchmarks.device.parts import BUDGET_S, PARTS, Part, named
from benchmarks.device.record import Record, read
from benchmarks.device.visit import Visit

ENDLESS = "import time; time.sleep(600)"


def visited(
    out: Path, scripts: dict[str, str], limits_s: dict[str, float], budget_s: float = 60.0
) -> tuple[bool, int]:
    """Whether it was complete, and how often the report was written."""
    reports = 0

    def reported() -> None:
        nonlocal reports
        reports += 1

    def command(part: Part) -> Sequence[str]:
        return [sys.executable, "-S", "-c", scripts[part.name]]

    parts = [
        Part(name, "none", limits_s.get(name, 60.0), alongside=name == "beside") for name in scripts
    ]
    return Visit(out, command, budget_s, reported).run(parts), reports


def test_parts_that_fail_or_hang_do_not_stop_the_others(tmp_path: Path) -> None:
    scripts = {"fails": "raise SystemExit(3)", "hangs": ENDLESS, "works": "print('well')"}
    complete, reports = visited(tmp_path, scripts, {"hangs": 0.2})
    progress = read(tmp_path / "progress.jsonl")
    assert (complete, reports) == (False, 3)
    assert [progress[name]["rc"] for name in scripts] == [3, None, 0]
    assert progress["hangs"]["why"] == "ended after its 0 s"
    assert (tmp_path / "works.log").read_text() == "well\n"
    # The same command runs again what is not complete, and nothing else.
    scripts = {"fails": "pass", "hangs": "pass", "works": "raise SystemExit('ran again')"}
    assert visited(tmp_path, scripts, {}) == (True, 2)


def test_part_beside_another_ends_before_the_one_after_it(tmp_path: Path) -> None:
    order = tmp_path / "order"
    note = f"open({str(order)!r}, 'a').write"
    scripts = {
        "beside": f"import time; time.sleep(0.5); {note}('beside ')",
        "first": f"{note}('first ')",
        "second": f"{note}('second ')",
    }
    assert visited(tmp_path, scripts, {})[0]
    assert order.read_text().split()[-1] == "second"
    assert sorted(order.read_text().split()) == ["beside", "first", "second"]


def test_without_time_left_nothing_is_begun(tmp_path: Path) -> None:
    assert visited(tmp_path, {"late": "pass"}, {}, budget_s=0.0) == (False, 0)
    assert read(tmp_path / "progress.jsonl")["late"]["why"] == "no time was left"


def test_results_are_on_disk_at_once_and_a_torn_line_is_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "part.jsonl"
    Record(path).add("first", ms=1.5)
    with path.open("a") as file:
        file.write('{"key": "second", "m')
    record = Record(path)
    assert record.has("first")
    assert not record.has("second")
    record.add("second", ms=2)
    assert {key: each["ms"] for key, each in read(path).items()} == {"first": 1.5, "second": 2}


def test_limits_of_all_parts_fit_into_the_visit() -> None:
    assert sum(part.limit_s for part in PARTS if not part.alongside) <= BUDGET_S <= 480
    with pytest.raises(ValueError, match="no part 'nothing'; there are machine, compile"):
        named("nothing")


def test_without_a_device_it_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert command_line.main([str(tmp_path)]) == 2
    assert "--rehearse" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        command_line.main([str(tmp_path), "--only", "nothing"])
    assert "no part 'nothing'" in capsys.readouterr().err
