"""What ``masklet bench --fleet`` is asked for, and what its tables say of what it measured."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.table import Table

from streamer.cli import exit_codes
from streamer.cli.bench.arguments import FLEET_PARTS
from streamer.cli.bench.fleet.fault_run import FaultResult
from streamer.cli.bench.fleet.faults import FAULTS
from streamer.cli.bench.fleet.run import Measured, fleet_config, wanted_streams
from streamer.cli.bench.fleet.sweep import SweepCell, cells
from streamer.cli.bench.fleet.through_gateway import GatewayCost
from streamer.cli.bench.fleet.watched import StreamOutcome
from streamer.cli.main import main, make_parser
from streamer.cli.terminal import Terminal
from streamer.fleet.config import FleetStream


def outcome(**changed: Any) -> StreamOutcome:
    values: dict[str, Any] = {
        "stream_id": "gate",
        "up_again_s": 3.1,
        "gap_s": 3.5,
        "lost": 6,
        "tracked_twice": 0,
        "same_ids": True,
    }
    return StreamOutcome(**{**values, **changed})


def fault(*streams: StreamOutcome, before: list[float], during: list[float]) -> FaultResult:
    return FaultResult("worker killed", True, streams, tuple(before), tuple(during))


def rows(table: Table) -> list[list[str]]:
    """Its cells; a table that can be drawn."""
    Terminal(file=io.StringIO()).print(table)
    return [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_every_fault_can_be_named() -> None:
    assert {each.key for each in FAULTS} == set(FLEET_PARTS) - {"sweep", "gateway"}
    parsed = make_parser().parse_args(["bench", "--fleet", "--only", "worker,move"])
    assert parsed.only == ("worker", "move")


def test_unknown_part_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", "--fleet", "--only", "worker,disk"])
    assert ended.value.code == exit_codes.REFUSED
    assert "must be of sweep, gateway, move" in (error := capsys.readouterr().err)
    assert "got 'disk'" in error


def test_streams_are_doubled_up_to_all_of_them() -> None:
    assert list(cells(2, 6)) == [(2, (1, 2, 4, 6)), (1, (1, 2, 4, 6))]
    assert list(cells(1, 4)) == [(1, (1, 2, 4))]
    assert list(cells(1, 1)) == [(1, (1,))]


def test_streams_and_fleet_are_accepted_by_the_manager() -> None:
    arguments = make_parser().parse_args(["bench", "--fleet", "--size", "160x96"])
    streams = wanted_streams(arguments)
    assert len(streams) == 3
    for stream_id, settings in streams.items():
        FleetStream.read(settings, stream_id)
    assert fleet_config(arguments, {}).capacity.carried == {1: 3}


def test_repetitions_are_one_row() -> None:
    late = [0.1] * 99 + [0.3]
    measured = Measured(
        faults=[
            fault(outcome(), before=late, during=[0.1, 0.2]),
            fault(outcome(up_again_s=5.0, same_ids=False), before=late, during=[0.1, 0.1]),
        ]
    )
    (table,) = measured.tables()
    assert rows(table) == [
        [
            "worker killed", "2", "3.1 s", "5.0 s", "3.5 s", "6", "0", "1 of 2",
            "100 ms", "200 ms", "1 of 4",
        ]
    ]  # fmt: skip
    assert measured.exit_code() == exit_codes.DONE


@pytest.mark.parametrize("changed", [{"tracked_twice": 1}, {"up_again_s": None}])
def test_stream_tracked_twice_or_lost_is_a_failure(changed: dict[str, Any]) -> None:
    result = fault(outcome(), outcome(**changed), before=[], during=[])
    assert Measured(faults=[result]).exit_code() == exit_codes.FAILED


def test_stream_that_never_comes_up_is_the_worst() -> None:
    (table,) = Measured(faults=[fault(outcome(up_again_s=None), before=[], during=[])]).tables()
    assert rows(table)[0][2:4] == ["none", "never"]


def test_tables_of_the_sweep_and_of_the_gateway() -> None:
    sweep, gateway = Measured(
        cells=[SweepCell(2, 4, 1.26, 0.994, 0.05, 0.2), SweepCell(1, 4, None, 0.0, None, None)],
        gateway=[GatewayCost("ZeroMQ", 240, 0.00021, 0.0042, 16, 1200, 0.0123)],
    ).tables()
    assert rows(sweep) == [
        ["2", "4", "1.3 s", "99%", "50 ms", "200 ms"],
        ["1", "4", "never", "0%", "none", "none"],
    ]
    assert rows(gateway) == [["ZeroMQ", "240", "0.21 ms", "4.20 ms", "16", "1200", "1.23%"]]
