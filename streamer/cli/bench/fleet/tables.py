"""The tables of ``masklet bench --fleet``."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from streamer.cli.bench.fleet.fault_run import FaultResult
from streamer.cli.bench.fleet.sweep import SweepCell
from streamer.cli.bench.fleet.through_gateway import READER_HZ, GatewayCost
from streamer.cli.bench.fleet.watched import nearest_rank


def sweep_table(cells: Sequence[SweepCell]) -> Table:
    """Streams × workers."""
    table = _table("workers", "streams", "all up in", "frames arrived", "p50", "p99")
    for cell in cells:
        table.add_row(
            str(cell.workers),
            str(cell.streams),
            "never" if cell.up_s is None else _seconds(cell.up_s),
            f"{cell.arrived:.0%}",
            _milliseconds(cell.p50_s),
            _milliseconds(cell.p99_s),
        )
    return table


def gateway_table(costs: Sequence[GatewayCost]) -> Table:
    """What a message and a reader cost."""
    table = _table(
        "through the gateway", "messages", "delay (median)", "(p99)", "readers", "they read",
        f"a reader's share of a core at {READER_HZ:g} Hz",
    )  # fmt: skip
    for cost in costs:
        table.add_row(
            cost.way,
            str(cost.messages),
            _milliseconds(cost.delay_p50_s, 2),
            _milliseconds(cost.delay_p99_s, 2),
            str(cost.readers),
            str(cost.read),
            "none" if cost.core_share is None else f"{cost.core_share:.2%}",
        )
    return table


def fault_table(results: Sequence[FaultResult]) -> Table:
    """What each fault did: all of its repetitions and streams together."""
    table = _table(
        "fault", "streams", "up again (median)", "(worst)", "gap in results (worst)",
        "frames lost (worst)", "tracked twice", "same ids", "others' p99 before", "during",
        "later than before",
    )  # fmt: skip
    for name in dict.fromkeys(each.fault for each in results):
        of_fault = [each for each in results if each.fault == name]
        streams = [stream for each in of_fault for stream in each.streams]
        times = [stream.up_again_s for stream in streams]
        found = [each for each in times if each is not None]
        before = [each for one in of_fault for each in one.others_before_s]
        during = [each for one in of_fault for each in one.others_during_s]
        p99_s = nearest_rank(before, 0.99)
        late = sum(p99_s is not None and each > p99_s for each in during)
        table.add_row(
            name,
            str(len(streams)),
            _seconds(nearest_rank(found, 0.5)),
            _seconds(max(found)) if len(found) == len(times) else "never",
            _seconds(max((stream.gap_s for stream in streams), default=None)),
            str(max((stream.lost for stream in streams), default=0)),
            str(sum(stream.tracked_twice for stream in streams)),
            f"{sum(stream.same_ids for stream in streams)} of {len(streams)}",
            _milliseconds(p99_s),
            _milliseconds(nearest_rank(during, 0.99)),
            f"{late} of {len(during)}",
        )
    return table


def _seconds(value: float | None) -> str:
    return "none" if value is None else f"{value:.1f} s"


def _milliseconds(value: float | None, digits: int = 0) -> str:
    return "none" if value is None else f"{value * 1000:.{digits}f} ms"


def _table(*columns: str) -> Table:
    table = Table(pad_edge=False)
    for column in columns:
        table.add_column(column)
    return table
